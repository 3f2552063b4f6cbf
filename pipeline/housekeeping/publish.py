"""Test data into the test topic (`houseutils publish`), and the topic read dry (`clean_tests`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

from pipeline.cli import output
from pipeline.cli.loop import run_loop
from pipeline.housekeeping import test_data
from pipeline.housekeeping.config import Config
from pipeline.housekeeping.opened import source_log
from pipeline.housekeeping.source import group_of, login_of
from pipeline.housekeeping.test_data import Case
from pipeline.log.port import TopicPartition, TopicSpec

Answer = Literal["send", "skip", "stop asking"]
_ANSWERS: Final[dict[str, Answer]] = {"s": "skip", "q": "stop asking"}


def ask(case: Case) -> Answer:
    """Ask the person at the terminal whether to send a case; no answer means yes."""
    text = input(f"send {case.name}? [s: skip, q: stop asking, else send] ")
    return _ANSWERS.get(text.strip().lower(), "send")


def publish(config: Config, scratch: Path, asking: Callable[[Case], Answer] | None) -> None:
    """Send the known test data to the test topic, the end marker last; say what was sent.

    The topic is made when it is not there. A mock source is told about and sent nothing.

    Args:
        config: Names the broker and the test topic.
        scratch: Folder that is gone when the command ends.
        asking: Asked before each case, until it says to stop; None sends all.

    Raises:
        SettingError: No test topic is named, or the broker cannot be what the configuration says.
        Unavailable: It does not answer.
    """
    topic = config.wanted("hop-test-topic") if config.text("hop-type") != "mock" else "mock.topic"
    chosen = list(_chosen(asking))
    if config.text("hop-type") != "mock":
        run_loop(_send(config, scratch, topic, chosen))
    output.print_rows(("topic", "bytes", "case"), [(topic, len(c.payload), c.name) for c in chosen])


def _chosen(asking: Callable[[Case], Answer] | None) -> Iterator[Case]:
    for case in test_data.cases():
        answer = asking(case) if asking else "send"
        if answer == "stop asking":
            asking = None
        if answer != "skip":
            yield case


async def _send(config: Config, scratch: Path, topic: str, chosen: list[Case]) -> None:
    async with source_log(config, scratch) as log:
        if topic not in await log.topics():
            await log.create_topics([TopicSpec(topic)])
        for case in chosen:  # one after the other: the order is part of the test
            await log.append([case.record(topic)])


def read_dry(config: Config, scratch: Path) -> int:
    """Acknowledge everything in the test topic for the group that archives, and say how much it was.

    A mock source has nothing to read.

    Raises:
        Conflict: An archiver of that group is running. SettingError, Unavailable: As `publish`.
    """
    if config.text("hop-type") == "mock":
        return 0
    return run_loop(_read_dry(config, scratch))


async def _read_dry(config: Config, scratch: Path) -> int:
    topic = config.wanted("hop-test-topic")
    group = group_of(config, await login_of(config))
    async with source_log(config, scratch) as log:
        count = (await log.topics()).get(topic, 0)
        bounds = await log.bounds([TopicPartition(topic, number) for number in range(count)])
        read = await log.committed(group, list(bounds))
        left = {place: bound.end - max(bound.start, read.get(place, 0)) for place, bound in bounds.items()}
        if any(left.values()):
            await log.commit(group, {place: bounds[place].end for place, n in left.items() if n})
        return sum(left.values())

"""Test data into the test topic (`houseutils publish`), and the topic read dry (`clean_tests`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Final, Literal

from pipeline.cli import output
from pipeline.cli.loop import run_loop
from pipeline.errors import BadInput
from pipeline.housekeeping import mock_source, test_data
from pipeline.housekeeping.config import Config
from pipeline.housekeeping.opened import source_log
from pipeline.housekeeping.source import group_of, login_of
from pipeline.housekeeping.test_data import Case
from pipeline.log.port import TopicPartition, TopicSpec

Answer = Literal["send", "skip", "stop asking"]
_ANSWERS: Final[dict[str, Answer]] = {"s": "skip", "q": "stop asking"}


def ask(case: Case) -> Answer:
    """Ask the person at the terminal whether to send a case; no answer means yes.

    Raises:
        BadInput: Nobody is there to answer.
    """
    sys.stderr.write(f"send {case.name}? [s: skip, q: stop asking, else send] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        raise BadInput(f"ask whether to send {case.name}", "nobody answers", "leave out --ask")
    return _ANSWERS.get(answer.strip().lower(), "send")


def publish(config: Config, asking: Callable[[Case], Answer] | None) -> None:
    """Send the known test data to the test topic, the end marker last; say what was sent.

    The topic is made when it is not there. A mock source is sent nothing.

    Args:
        config: Names the broker and the test topic.
        asking: Asked before each case is sent, until it says to stop; None sends all.

    Raises:
        SettingError: No test topic is named, or the broker cannot be what the configuration says.
        Unavailable: It does not answer.
    """
    mock = config.text("hop-type") == "mock"
    topic = mock_source.TOPIC if mock else config.wanted("hop-test-topic")
    for cases in _groups(asking):
        if not mock:
            run_loop(_send(config, topic, cases))
        rows = [(topic, len(case.payload), case.name) for case in cases]
        output.print_rows(("topic", "bytes", "case"), rows)


def _groups(asking: Callable[[Case], Answer] | None) -> Iterator[list[Case]]:
    """Yield what is sent before the next question: one case, or all that are left."""
    cases = iter(test_data.cases())
    for case in cases:
        answer = asking(case) if asking else "stop asking"
        if answer == "stop asking":
            yield [case, *cases]
        elif answer == "send":
            yield [case]


async def _send(config: Config, topic: str, cases: list[Case]) -> None:
    async with source_log(config) as log:
        if topic not in await log.topics():
            await log.create_topics([TopicSpec(topic)])
        for case in cases:  # one after the other: the order is part of the test
            await log.append([case.record(topic)])


def read_dry(config: Config) -> int:
    """Acknowledge everything in the test topic for the group that archives, and say how much it was.

    A mock source has nothing to read.

    Raises:
        Conflict: An archiver of that group is running. SettingError, Unavailable: As `publish`.
    """
    if config.text("hop-type") == "mock":
        return 0
    return run_loop(_read_dry(config))


async def _read_dry(config: Config) -> int:
    topic = config.wanted("hop-test-topic")
    group = group_of(config, await login_of(config))
    async with source_log(config) as log:
        count = (await log.topics()).get(topic, 0)
        bounds = await log.bounds([TopicPartition(topic, number) for number in range(count)])
        read = await log.committed(group, list(bounds))
        left = {place: bound.end - max(bound.start, read.get(place, 0)) for place, bound in bounds.items()}
        if any(left.values()):
            await log.commit(group, {place: bounds[place].end for place, n in left.items() if n})
        return sum(left.values())

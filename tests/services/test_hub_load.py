"""Many consumers of a hub on Kafka, then the same while its processes are killed: nothing is missed."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

import aiohttp
import msgspec
import pytest

from pipeline.events.topics import system_topic
from tests.agents.installation import parked_entries, records_of
from tests.processes import until
from tests.seeds import seeded
from tests.services.consumers import (
    POST_EVENTS,
    Consumer,
    Late,
    Twice,
    Vanishing,
    Where,
    in_turn,
    publish,
)
from tests.services.hub_lab import APIS, WORKERS, HubLab, hub_labs
from tests.services.wishes import Wish, wishes

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]

EVENTS = int(os.environ.get("HEADRACE_TEST_EVENTS", "5000"))
"""Before the kills, and as many while there are kills; by hand it is run with 100,000."""
LARGE = EVENTS > 10_000
CONSUMERS = 100 if LARGE else 20
KILLS = 24 if LARGE else 6
BETWEEN_KILLS_SECONDS = 2.5
VICTIMS = (APIS[0], WORKERS[0], APIS[1], WORKERS[1])
POSTS = 8
PAUSE_SECONDS = 0.2
"""Between two kills events come in so many posts at least, so that some are under way when a kill comes."""
PATIENCE_SECONDS = 900.0 if LARGE else 150.0
TASKS = 40
TRIES = 3
TASK_KILLS = 4
QUICK = {
    "lapse_seconds": 1.0,
    "scan_interval_seconds": 0.2,
    "backoff_seconds": [0.0, 0.1],
    "retries": TRIES - 1,
}
"""Tries enough for plugins that do their part, whichever of them the kills cost."""


@pytest.fixture
async def lab_with(kafka_address: str, unique: str, tmp_path: Path) -> AsyncIterator[Callable[..., HubLab]]:
    """Give a maker of a hub; it takes settings."""
    async with hub_labs(kafka_address, unique, tmp_path) as make:
        yield make


async def test_each_consumer_receives_what_its_filter_selects_once_and_after_kills_no_less(
    lab_with: Callable[..., HubLab],
) -> None:
    lab, chance = lab_with(), seeded(12)
    before, during, all_of_them = range(EVENTS), range(EVENTS, 2 * EVENTS), range(2 * EVENTS)
    # What is to come is told beforehand: a client that is busy counting receives nothing.
    wanted = {wish: wish.numbers(all_of_them) for wish in wishes(CONSUMERS, chance)}
    await asyncio.gather(*(lab.start(name) for name in (*APIS, *WORKERS)))
    async with crowd(lab, dict.fromkeys(wanted, Consumer)) as (consumers, client):
        begun = time.monotonic()
        assert await publish(client, everywhere(lab), before) == 0
        await all_received(lab, consumers, wanted, EVENTS)
        for consumer in consumers:
            assert consumer.received == Counter(below(wanted[consumer.wish], EVENTS)), consumer.wish
        tell(lab, consumers, f"{EVENTS} events without kills: {time.monotonic() - begun:.1f} s")

        for consumer in consumers:
            consumer.elsewhere = everywhere(lab)
        begun = time.monotonic()
        killed: list[float] = []
        for part, victim in shared_out(during, KILLS):
            moment = await publish_and_kill(lab, client, chance, part, victim)
            killed += [moment] if victim in APIS else []
        await all_received(lab, consumers, wanted, 2 * EVENTS)
        tell(lab, consumers, f"{EVENTS} events and {KILLS} kills: {time.monotonic() - begun:.1f} s")
        await until(partial(nothing_in_flight, lab, client), PATIENCE_SECONDS)
    stored = await numbers_stored(lab)
    repeats = [repeated(consumer, stored, killed) for consumer in consumers]
    told(consumers, repeats, stored)


async def test_tasks_end_once_whatever_their_plugins_and_the_processes_do(
    lab_with: Callable[..., HubLab],
) -> None:
    lab, chance = lab_with(tasks=QUICK), seeded(13)
    kinds: dict[Wish, type[Consumer]] = {
        Wish(kind.__name__.lower(), active=True): kind for kind in (Consumer, Late, Twice, Vanishing)
    }
    numbers = range(TASKS)
    await asyncio.gather(*(lab.start(name) for name in (*APIS, *WORKERS)))
    async with crowd(lab, kinds) as (consumers, client):
        for consumer in consumers:
            consumer.elsewhere = everywhere(lab)
        for part, victim in shared_out(numbers, TASK_KILLS):
            await publish_and_kill(lab, client, chance, part, victim)
        await all_received(lab, consumers, dict.fromkeys(kinds, numbers), TASKS)
        await until(partial(nothing_in_flight, lab, client), PATIENCE_SECONDS)
        await all_received(lab, consumers, dict.fromkeys(kinds, numbers), TASKS)
        assert await nothing_in_flight(lab, client)
    async with lab.parts() as parts:
        entries = await parked_entries(parts)
        records = await records_of(parts, system_topic(lab.prefix, "status"))
    # What vanished is parked, each task once, with one final status; nothing else is.
    assert len({entry.key for entry in entries}) == len(entries) == TASKS, lab.told()
    assert all((entry.key or b"").endswith(b".vanishing.1.0") for entry in entries)
    said = [msgspec.json.decode(record.value or b"{}") for record in records]
    lost = {each["kafka_key"] for each in said if each["entity"]["status"] == "error-network"}
    assert len(lost) == TASKS
    handed = {consumer.wish.name: consumer.received.total() for consumer in consumers}
    sys.stdout.write(f"{TASKS} tasks each were handed out so often: {handed}\n")


@asynccontextmanager
async def crowd(
    lab: HubLab, wanted: Mapping[Wish, type[Consumer]]
) -> AsyncIterator[tuple[list[Consumer], aiohttp.ClientSession]]:
    """Give consumers that fetch until the block is left, all registered, each from one api only."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client, asyncio.TaskGroup() as group:
        homes = [partial(lab.url, APIS[index // 3 % 2]) for index in range(len(wanted))]
        consumers = [
            kind(wish, client, home=home, elsewhere=home)
            for home, (wish, kind) in zip(homes, wanted.items(), strict=True)
        ]
        await asyncio.gather(*(consumer.register() for consumer in consumers))
        running = [group.create_task(consumer.run()) for consumer in consumers]
        yield consumers, client
        for each in running:
            each.cancel()


def everywhere(lab: HubLab) -> Where:
    """Say where the api processes are, in turn."""
    return in_turn(*(partial(lab.url, name) for name in APIS))


def below(numbers: Sequence[int], end: int) -> Sequence[int]:
    """Return the numbers below an end."""
    return numbers[: bisect_left(numbers, end)]


async def all_received(
    lab: HubLab, consumers: Sequence[Consumer], wanted: Mapping[Wish, Sequence[int]], end: int
) -> None:
    """Return when each consumer has the events below an end it wants, and then found nothing more."""
    due = [(consumer, len(below(wanted[consumer.wish], end))) for consumer in consumers]
    complete = float("inf")

    def quiet() -> bool:
        nonlocal complete
        lab.look()
        if any(len(consumer.received) < count for consumer, count in due):
            return False
        complete = min(complete, time.monotonic())
        return all(consumer.idle_since > complete for consumer in consumers)

    try:
        await until(quiet, PATIENCE_SECONDS)
    except TimeoutError:
        missing = {
            consumer.wish.name: sorted({*below(wanted[consumer.wish], end)} - {*consumer.received})[:10]
            for consumer, _ in due
        }
        raise AssertionError(f"missing: {missing}\n{lab.told()}") from None


async def publish_and_kill(
    lab: HubLab, client: aiohttp.ClientSession, chance: random.Random, numbers: range, victim: str
) -> float:
    """Publish events and kill a process at some moment meanwhile; return when that was."""
    at_once = min(POST_EVENTS, -(-len(numbers) // POSTS))
    trickle = publish(client, everywhere(lab), numbers, at_once=at_once, pause_seconds=PAUSE_SECONDS)
    publishing = asyncio.create_task(trickle)
    await asyncio.sleep(chance.uniform(0, BETWEEN_KILLS_SECONDS))  # the moment is what is tried
    killed = time.monotonic()
    await lab.kill(victim)
    await publishing
    return killed


def shared_out(numbers: range, kills: int) -> list[tuple[range, str]]:
    """Share numbers out among kills, and name the victim of each."""
    ends = [kill * len(numbers) // kills for kill in range(kills + 1)]
    return [
        (numbers[first:end], victim)
        for first, end, victim in zip(ends, ends[1:], cycle(VICTIMS), strict=False)
    ]


async def nothing_in_flight(lab: HubLab, client: aiohttp.ClientSession) -> bool:
    """Tell whether every task has ended."""
    for url in filter(None, map(lab.url, APIS)):
        async with client.get(f"{url}/api/tasks") as response:
            answer = await response.json()
            assert response.status == 200, answer
            return bool(answer["total"] == 0)
    return False


async def numbers_stored(lab: HubLab) -> Counter[int]:
    """Return how often each event is on the log: a post that broke off may have been stored, and again."""
    async with lab.parts() as parts:
        topics = [
            name for name in await parts.log.topics() if name.startswith(f"azul.{lab.prefix}.testing.")
        ]
        records = [record for topic in topics for record in await records_of(parts, topic)]
    events = [msgspec.json.decode(record.value or b"{}") for record in records]
    return Counter(int(event["source"]["references"]["number"]) for event in events)


def repeated(consumer: Consumer, stored: Counter[int], killed: Sequence[float]) -> set[int]:
    """Return which answers of a consumer came again, by their place.

    Each must have been the last before an api was killed: its position was not committed by then.
    """
    left: dict[int, int] = {}
    before: dict[int, int] = {}
    again: set[int] = set()
    for place, answer in enumerate(consumer.answers):
        for number in answer.numbers:
            assert number in stored, (consumer.wish, number)
            left[number] = left.get(number, stored[number]) - 1
            if left[number] < 0:
                again.add(before[number])
            before[number] = place
    for place in again:
        answer, following = consumer.answers[place : place + 2]
        assert any(answer.asked <= kill <= following.arrived for kill in killed), (consumer.wish, answer)
    return again


def tell(lab: HubLab, consumers: Sequence[Consumer], what: str) -> None:
    """Say what was done, and what it took."""
    events = sum(consumer.received.total() for consumer in consumers)
    memory = {name: f"{held >> 20} MiB" for name, held in sorted(lab.memory_bytes.items())}
    late = max(consumer.latest_seconds for consumer in consumers)
    sys.stdout.write(f"{what}; {events} received so far; {memory}; answers late by at most {late:.1f} s\n")


def told(consumers: Sequence[Consumer], repeats: Sequence[set[int]], stored: Counter[int]) -> None:
    """Say what came more often than it was published."""
    for active in (False, True):
        those = [index for index, consumer in enumerate(consumers) if consumer.wish.active is active]
        answers = sum(len(consumers[index].answers) for index in those)
        again = sum(len(repeats[index]) for index in those)
        sys.stdout.write(f"{'active' if active else 'passive'}: {again} of {answers} answers came again\n")
    twice = sum(count > 1 for count in stored.values())
    troubles = sum((consumer.troubles for consumer in consumers), Counter[str]())
    sys.stdout.write(f"{twice} events were stored twice; troubles of clients: {dict(troubles)}\n")

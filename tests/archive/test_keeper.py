"""The keeper: acknowledges only what is durable, stalls nobody, gives up nothing (contract, section 11)."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import limits_archive
from pipeline.archive.identity import made_uuid
from pipeline.archive.message import Message
from pipeline.archive.outcome import Outcome
from pipeline.archive.storing.keeper import Keeper, PackSize, layout_of
from pipeline.archive.storing.tries import Tries
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import ManualClock
from pipeline.database.engine import Database
from pipeline.errors import Damaged, Unavailable
from pipeline.log.port import TopicPartition
from pipeline.metrics import REGISTRY
from pipeline.objects.memory import MemoryStore
from pipeline.objects.port import Stat
from tests.archive.archived import Archive
from tests.archive.keeping import TOPIC, Parked, Partition, a_keeper
from tests.archive.packed import check_packs, manifests

Writers = Callable[..., ArchiveWriter]
START = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


@pytest.fixture(params=["objects", "packs"])
def layout(request: pytest.FixtureRequest) -> str:
    """Give the layout of everything in this test."""
    return str(request.param)


@pytest.fixture
async def new_keeper(new_writer: Writers, layout: str) -> AsyncIterator[Callable[..., Keeper]]:
    """Give a maker of keepers, closed at the end."""
    made: list[Keeper] = []

    def make(**changes: Any) -> Keeper:
        made.append(a_keeper(new_writer, layout, **changes))
        return made[-1]

    yield make
    for keeper in made:
        await keeper.close()


Keepers = Callable[..., Keeper]


async def until(holds: Callable[[], object]) -> None:
    """Return when something holds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 -- nobody tells when it does
            await asyncio.sleep(0)


async def test_everything_taken_is_stored_and_acknowledged_when_drained(
    new_keeper: Keepers, archive: Archive
) -> None:
    keeper, one, two = new_keeper(), Partition(0), Partition(1, start=7)
    for count in (3, 1, 5):
        await keeper.take(one.batch(count))
        await keeper.take(two.batch(count, gap=2))
    await keeper.drain()
    assert (one.committed, two.committed) == (9, 22)
    assert len(await archive.rows()) == 18
    await archive.check_complete(TOPIC)


class Gate(MemoryStore):
    """A store that lets no object of some keys in before it is opened."""

    def __init__(self, inner: MemoryStore, word: str = "") -> None:
        self.__dict__ = dict(inner.__dict__)
        self._word = word
        self.waiting = 0
        self.open_gate = asyncio.Event()

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Wait, then put."""
        if self._word in key:
            self.waiting += 1
            await self.open_gate.wait()
        return await super().put(key, source, **options)  # type: ignore[arg-type]


async def test_nothing_is_acknowledged_before_it_is_durable(
    new_keeper: Keepers, objects: MemoryStore, archive: Archive
) -> None:
    gate = Gate(objects)
    keeper, one = new_keeper(objects=gate), Partition()
    await keeper.take(one.batch(4))
    draining = asyncio.create_task(keeper.drain())
    await until(lambda: gate.waiting)
    assert one.committed == 0
    gate.open_gate.set()
    await draining
    assert one.committed == 4
    assert len(await archive.rows()) == 4


async def test_closing_acknowledges_nothing_and_what_comes_again_is_stored_once(
    new_keeper: Keepers, objects: MemoryStore, archive: Archive
) -> None:
    gate = Gate(objects)
    keeper, one = new_keeper(objects=gate), Partition()
    batch = one.batch(4)
    await keeper.take(batch)
    await keeper.close()
    assert one.committed == 0
    other = new_keeper()
    await other.take(one.batch_of(batch.records))
    await other.drain()
    assert (one.committed, len(await archive.rows())) == (4, 4)
    await archive.check_complete(TOPIC)


async def test_a_partition_that_stalls_holds_up_no_other(
    new_keeper: Keepers, objects: MemoryStore, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far more comes of the stalled one than there is room for."""
    monkeypatch.setattr(limits_archive, "ARCHIVE_IN_FLIGHT_RECORDS", 100)
    clock = ManualClock(START)
    gate = Gate(objects, "stalled")
    stalled, other = Partition(topic="stalled"), Partition(topic="other")
    keeper = new_keeper(objects=gate, clock=clock, pack=PackSize(records=10, seconds=1.0), concurrency=4)
    for _ in range(30):
        taking = asyncio.create_task(keeper.take(stalled.batch(10)))
        await _advancing(clock, taking)
    for _ in range(30):
        await _advancing(clock, asyncio.create_task(keeper.take(other.batch(10))))
    await until(lambda: other.committed == 300)
    assert stalled.committed == 0
    gate.open_gate.set()
    await _advancing(clock, asyncio.create_task(keeper.drain()))
    assert stalled.committed == 300
    assert len(await archive.rows()) == 600


async def _advancing(clock: ManualClock, task: asyncio.Task[None]) -> None:
    """Wait for a task while time goes on."""
    async with asyncio.timeout(30):
        while not task.done():
            clock.advance(0.1)
            await asyncio.sleep(0)
    task.result()


class Failing(MemoryStore):
    """A store that is down for so many puts of some keys, and before that for as many as it takes."""

    def __init__(self, inner: MemoryStore, times: float, word: str = "") -> None:
        self.__dict__ = dict(inner.__dict__)
        self.times = times
        self._word = word

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Put, or be down."""
        if self._word in key and self.times > 0:
            self.times -= 1
            raise Unavailable("put an object", "it is down")
        return await super().put(key, source, **options)  # type: ignore[arg-type]


async def test_a_store_that_is_down_is_waited_for_and_nothing_is_parked(
    new_keeper: Keepers, objects: MemoryStore, archive: Archive
) -> None:
    clock, parked, one = ManualClock(START), Parked(), Partition()
    failing = Failing(objects, 12)
    before = _puts_repeated()
    keeper = new_keeper(objects=failing, clock=clock, park=parked)
    await keeper.take(one.batch(1))
    await _advancing(clock, asyncio.create_task(keeper.drain()))
    assert (one.committed, parked.records) == (1, [])
    assert _puts_repeated() - before == 12
    await archive.check_complete(TOPIC)


def _puts_repeated() -> float:
    return REGISTRY.get_sample_value("headrace_archive_retries_total", {"step": "put"}) or 0.0


async def test_what_can_never_be_stored_is_parked_alone_and_then_acknowledged(
    new_keeper: Keepers, archive: Archive
) -> None:
    parked, one = Parked(), Partition()
    keeper = new_keeper(park=parked, object_max_bytes=2000)
    await keeper.take(one.batch(3))
    await keeper.take(one.batch(1, value=b"x" * 3000))
    await keeper.take(one.batch(3))
    await keeper.drain()
    assert [(record.offset, outcome.status) for record, outcome in parked.records] == [(3, "refused")]
    assert (one.committed, len(await archive.rows())) == (7, 6)


async def test_what_cannot_be_parked_is_not_acknowledged(new_keeper: Keepers) -> None:
    async def fail(refused: object) -> None:
        raise Damaged("park a record")

    one = Partition()
    keeper = new_keeper(park=fail, object_max_bytes=2000)
    await keeper.take(one.batch(1, value=b"x" * 3000))
    with pytest.raises(Damaged):
        await keeper.drain()
    with pytest.raises(Damaged):
        await keeper.take(one.batch(1))
    assert one.committed == 0


class TestRetryLimit:
    """With a limit, what fails in passing is parked after so many tries; a restart does not forget them."""

    @pytest.mark.parametrize("layout", ["objects"])  # a pack has one key for many messages
    async def test_the_message_in_the_way_is_parked_and_its_neighbours_are_stored(
        self, new_keeper: Keepers, objects: MemoryStore, archive: Archive, tmp_path: Path
    ) -> None:
        one, parked, clock = Partition(), Parked(), ManualClock(START)
        batch = one.batch(5)
        bad = Message.of(batch.records[2])
        failing = Failing(objects, float("inf"), str(made_uuid(bad)))
        keeper = new_keeper(
            objects=failing, park=parked, clock=clock, retry_limit=3, tries=Tries(tmp_path / "tries.json")
        )
        await keeper.take(batch)
        await _advancing(clock, asyncio.create_task(keeper.drain()))
        assert [record.offset for record, _ in parked.records] == [2]
        assert "3 tries" in parked.records[0][1].reason
        assert (one.committed, len(await archive.rows())) == (5, 4)

    async def test_tries_before_a_restart_count(
        self, new_keeper: Keepers, objects: MemoryStore, tmp_path: Path
    ) -> None:
        one, parked, clock = Partition(), Parked(), ManualClock(START)
        failing, file = Failing(objects, float("inf")), tmp_path / "tries.json"
        records = one.batch(2).records
        place = TopicPartition(TOPIC, 0)
        for _ in range(4):
            await Tries(file).failed(place, 1, 1)
        keeper = new_keeper(objects=failing, park=parked, clock=clock, retry_limit=5, tries=Tries(file))
        await keeper.take(one.batch_of(records))
        await keeper.drain()
        assert [record.offset for record, _ in parked.records] == [0, 1]
        assert "5 tries" in parked.records[0][1].reason
        assert await Tries(file).failed(place, 0, 1) == 1

    async def test_counts_that_cannot_be_read_begin_anew(self, tmp_path: Path) -> None:
        file = tmp_path / "tries.json"
        file.write_bytes(b"{torn")
        assert await Tries(file).failed(TopicPartition(TOPIC, 0), 0, 9) == 1


async def test_test_messages_are_passed_over_and_their_offsets_advance(
    new_keeper: Keepers, archive: Archive
) -> None:
    keeper, one = new_keeper(), Partition()
    test = (("_test", b"true"),)
    await keeper.take(one.batch(2, headers=test))
    assert one.committed == 2
    await keeper.take(one.batch_of([*one.batch(1).records, *one.batch(1, headers=test).records]))
    await keeper.drain()
    assert (one.committed, len(await archive.rows())) == (4, 1)


async def test_test_messages_are_kept_and_marked_on_request(new_keeper: Keepers, archive: Archive) -> None:
    keeper, one = new_keeper(test_messages=True), Partition()
    await keeper.take(one.batch(1, headers=(("_test", None),)))
    await keeper.drain()
    (row,) = await archive.rows()
    assert (await archive.message(row.uuid)).annotations["test"] is True


class Attendant:
    """Wants even offsets only, sees what is durable, and may raise."""

    def __init__(self, archive: Archive, error: Exception | None = None) -> None:
        self._archive = archive
        self._error = error
        self.seen: list[tuple[int | None, str]] = []

    def wanted(self, message: Message) -> bool:
        """Want even offsets."""
        return message.offset is None or message.offset % 2 == 0

    async def settled(self, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> None:
        """Note what is durable."""
        if self._error is not None:
            raise self._error
        stored = {row.uuid for row in await self._archive.rows()}
        assert {outcome.uuid for outcome in outcomes if outcome.stored} <= stored
        self.seen += [
            (message.offset, outcome.status) for message, outcome in zip(messages, outcomes, strict=True)
        ]


async def test_an_attendant_sees_what_is_durable_and_says_what_is_wanted(
    new_keeper: Keepers, archive: Archive
) -> None:
    attendant, one = Attendant(archive), Partition()
    keeper = new_keeper(attendant=attendant)
    await keeper.take(one.batch(4))
    await keeper.drain()
    assert attendant.seen == [(0, "stored"), (2, "stored")]
    assert one.committed == 4


async def test_what_an_attendant_raises_ends_the_keeper_and_acknowledges_nothing(
    new_keeper: Keepers, archive: Archive
) -> None:
    one = Partition()
    keeper = new_keeper(attendant=Attendant(archive, ValueError("not what was sent")))
    told: list[str] = []
    keeper.failed = lambda error: told.append(str(error))
    await keeper.take(one.batch(4))
    with pytest.raises(ValueError, match="not what was sent"):
        await keeper.drain()
    # Whoever hands over batches learns of it without another batch.
    assert told == ["not what was sent"]
    with pytest.raises(ValueError, match="not what was sent"):
        await keeper.take(one.batch(4))
    assert one.committed == 0


async def test_two_keepers_at_one_partition_store_each_message_once(
    new_keeper: Keepers, archive: Archive, database_url: str, tmp_path: Path
) -> None:
    """A rebalance: both have it for a moment, in other portions."""
    other_database = Database(database_url, tmp_path, attempts=1)
    await other_database.open()
    one, other = Partition(), Partition()
    keepers = [
        new_keeper(pack=PackSize(records=7)),
        new_keeper(database=other_database, pack=PackSize(records=5)),
    ]
    for count in (4, 8, 3, 9):
        await asyncio.gather(keepers[0].take(one.batch(count)), keepers[1].take(other.batch(count)))
    await asyncio.gather(*(keeper.drain() for keeper in keepers))
    assert (one.committed, other.committed) == (24, 24)
    assert len(await archive.rows()) == 24
    await archive.check_complete(TOPIC)
    await other_database.close()


async def test_what_was_lost_to_another_worker_is_let_go(
    new_keeper: Keepers, objects: MemoryStore, archive: Archive
) -> None:
    clock, one = ManualClock(START), Partition()
    failing = Failing(objects, float("inf"))
    keeper = new_keeper(objects=failing, clock=clock, pack=PackSize(records=3))
    await keeper.take(one.batch(3))
    await until(lambda: failing.times == float("inf"))
    one.lose()
    await _advancing(clock, asyncio.create_task(keeper.drain()))
    failing.times = 0
    await keeper.take(one.batch(3))
    await _advancing(clock, asyncio.create_task(keeper.drain()))
    assert (one.committed, len(await archive.rows())) == (3, 3)


async def test_memory_is_bounded_taking_waits_for_room(
    new_keeper: Keepers, objects: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_IN_FLIGHT_BYTES", 10_000)
    monkeypatch.setattr(limits_archive, "ARCHIVE_HELD_BYTES", 20_000)
    gate, one = Gate(objects), Partition()
    keeper = new_keeper(objects=gate, pack=PackSize(records=2))
    await keeper.take(one.batch(4, value=b"x" * 2000))
    taking = asyncio.create_task(keeper.take(one.batch(4, value=b"x" * 2000)))
    await until(lambda: gate.waiting)
    assert not taking.done()
    gate.open_gate.set()
    await taking
    await keeper.drain()
    assert one.committed == 8


def test_the_first_glob_that_matches_says_how_a_topic_is_stored() -> None:
    layouts: Any = {"azul.*.status.*": "packs", "azul.*": "objects", "b*": "packs"}
    told = [layout_of(topic, layouts, "objects") for topic in ("azul.x.status.y", "azul.x.b", "bc", "c")]
    assert told == ["packs", "objects", "packs", "objects"]


class TestPacksUnderWay:
    """When packs are closed; the layout of the module does not matter here."""

    @pytest.fixture
    def layout(self) -> str:
        """Pack."""
        return "packs"

    async def test_a_pack_is_closed_in_time_though_nothing_more_comes(
        self, new_keeper: Keepers, database: Database
    ) -> None:
        clock, one = ManualClock(START), Partition()
        keeper = new_keeper(clock=clock, pack=PackSize(seconds=5.0))
        await keeper.take(one.batch(2))
        clock.advance(3.0)
        await keeper.take(one.batch(2))
        clock.advance(1.9)
        await asyncio.sleep(0)
        assert await manifests(database) == []
        clock.advance(0.2)
        await until(lambda: one.committed == 4)
        assert [each.n_messages for each in await manifests(database)] == [4]

    async def test_a_pack_is_closed_at_so_many_messages_or_bytes(
        self, new_keeper: Keepers, database: Database, archive: Archive
    ) -> None:
        keeper, one = new_keeper(pack=PackSize(records=5, size_bytes=1000)), Partition()
        await keeper.take(one.batch(12))
        await keeper.take(one.batch(3, value=b"x" * 600))
        await keeper.drain()
        assert one.committed == 15
        noted = [(each.first_offset, each.last_offset) for each in await manifests(database)]
        assert noted == [(0, 4), (5, 9), (10, 13), (14, 14)]
        await check_packs(archive)

    async def test_packs_under_way_make_room_when_they_take_all_of_it(
        self, new_keeper: Keepers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits_archive, "ARCHIVE_IN_FLIGHT_RECORDS", 20)
        keeper = new_keeper(clock=ManualClock(START))
        partitions = [Partition(n) for n in range(8)]
        async with asyncio.timeout(20):
            for _ in range(3):
                for partition in partitions:
                    await keeper.take(partition.batch(4))
        await keeper.drain()
        assert [partition.committed for partition in partitions] == [12] * 8

    async def test_a_pack_that_was_left_written_is_finished_before_single_objects_are_stored(
        self, new_writer: Writers, new_keeper: Keepers, objects: MemoryStore, archive: Archive
    ) -> None:
        """The layout was changed while a worker was dead."""
        one = Partition()
        batch = one.batch(3)
        failing = FailingAfter(objects)
        dead = new_keeper(objects=failing, clock=ManualClock(START), pack=PackSize(records=3))
        await dead.take(batch)
        await until(lambda: failing.put_once)
        await dead.close()
        keeper = a_keeper(new_writer, "objects")
        await keeper.take(one.batch_of(batch.records))
        await keeper.drain()
        await keeper.close()
        assert {row.key.rpartition(".")[2] for row in await archive.rows()} == {"pack"}
        await check_packs(archive)
        await archive.check_complete(TOPIC)


class FailingAfter(MemoryStore):
    """A store that stores, and says it did not."""

    def __init__(self, inner: MemoryStore) -> None:
        self.__dict__ = dict(inner.__dict__)
        self.put_once = False

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Put, and be down."""
        await super().put(key, source, **options)  # type: ignore[arg-type]
        self.put_once = True
        raise Unavailable("put an object", "the answer was lost")

"""The Faust transport ``headrace-embedded:///folder``: Faust on the embedded log, without a server.

Each app is one consumer group with one member, which has all partitions; a second member in this process
is refused, and another process cannot open the folder. Folder names are percent-encoded in the URL
(`app.embedded_broker`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from faust.transport import base
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode import get_logger

from pipeline import limits
from pipeline.errors import Conflict, HeadraceError, SettingError
from pipeline.log.embedded.log import EmbeddedLog, shared
from pipeline.log.membership import count_rebalance
from pipeline.log.port import Record, TopicPartition
from pipeline.log.transport import quiet
from pipeline.log.transport.conductor import Conductor
from pipeline.log.transport.drain import LeanConsumer
from pipeline.log.transport.embedded_producer import Producer, open_whole
from pipeline.log.transport.topics import Topics

logger = get_logger(__name__)


class Consumer(LeanConsumer):
    """The one member of a group on the embedded log."""

    fetch_wait_seconds = limits.FETCH_WAIT_EMBEDDED_SECONDS

    def __init__(self, transport: Any, *args: Any, **kwargs: Any) -> None:
        self.log_handle: EmbeddedLog = shared(transport.folder)
        self.topics = Topics(self.log_handle)
        self._subscribed: set[str] = set()
        self._assigned: set[Any] = set()
        self._offsets: dict[Any, int] = {}
        self._ends: dict[Any, int] = {}
        self._waiting: asyncio.Future[bool] | None = None
        self._generation = 0
        self._member: tuple[Path, str] | None = None
        super().__init__(transport, *args, **kwargs)

    # --- life ---------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Open the log and take the one place of the group.

        Raises:
            Conflict: The group has its member already, or another process has the folder.
        """
        await super().on_start()
        if not self.app.client_only:
            folder = await asyncio.to_thread(self.transport.folder.resolve)
            self._member = _join(folder, self.app.conf.id)
        await open_whole(self.log_handle)
        await self.topics.refresh()
        if self.should_stop:  # stopped while it was starting: the stop has passed here already
            await self._let_go()

    async def on_shutdown(self) -> None:
        """Let the place and the log go."""
        await super().on_shutdown()
        await self._let_go()

    async def _let_go(self) -> None:
        if self._member is not None:
            _members.discard(self._member)
            self._member = None
        await self.log_handle.close()

    def wake(self) -> None:
        """Look again at once, also when a fetch is waiting for records."""
        super().wake()
        if self._waiting is not None:
            self._waiting.cancel()

    # --- group --------------------------------------------------------------------------------

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Read these topics from now on; missing ones are created.

        The rebalance runs as a task: Faust waits for this call to return before it lets one finish.
        """
        self._subscribed = set(topics)
        await self.topics.ensure(self._subscribed, self.app.conf.topic_partitions)
        if self.app.client_only:
            await self._take_everything()
        else:
            self.add_future(self._rebalance())

    async def _rebalance(self) -> None:
        app = self.app
        app.on_rebalance_start()
        await self.on_partitions_revoked(set(self._assigned))
        member = app.conf.id
        metadata = app.assignor.metadata(self._subscribed)
        assignment = app.assignor.assign(self.topics, {member: metadata})[member]
        app.assignor.on_assignment(assignment)
        self._generation += 1
        app.consumer_generation_id = self._generation
        self._assigned = {
            TP(topic, partition) for topic, partitions in assignment.assignment for partition in partitions
        }
        self._offsets = {tp: at for tp, at in self._offsets.items() if tp in self._assigned}
        count_rebalance(member)
        await self.on_partitions_assigned(set(self._assigned), self._generation)

    async def _take_everything(self) -> None:
        """A client has no group: it has all partitions and sees what comes from now on."""
        self._assigned = {
            TP(topic, number)
            for topic in self._subscribed
            for number in range(self.topics.partitions(topic) or 0)
        }
        self._offsets = dict(await self.highwaters(*self._assigned))

    def assignment(self) -> set[Any]:
        """Return the partitions this member has."""
        return set(self._assigned)

    # --- reading ------------------------------------------------------------------------------

    async def _getmany(self, active_partitions: set[Any] | None, timeout: float) -> dict[Any, list[Record]]:
        tps = self._assigned if active_partitions is None else active_partitions & self._assigned
        found = await self._read(tps)
        if not found and await self._wait(tps, timeout):
            found = await self._read(tps)
        return found

    async def _read(self, tps: Iterable[Any]) -> dict[Any, list[Record]]:
        found = {}
        for tp in tps:
            offset = self._offsets.get(tp)
            if offset is None:
                continue
            fetched = await self.log_handle.fetch(
                tp,
                offset,
                max_records=limits.FETCH_PARTITION_RECORDS,
                max_bytes=limits.FETCH_PARTITION_BYTES,
            )
            self._offsets[tp] = fetched.next
            if fetched.records:
                found[tp] = fetched.records
        return found

    async def _wait(self, tps: Iterable[Any], timeout: float) -> bool:
        """Wait until one of the partitions has more; False when there is none or `wake` was called."""
        positions = {TopicPartition(*tp): self._offsets[tp] for tp in tps if tp in self._offsets}
        waiting = asyncio.ensure_future(self.log_handle.wait_for_records(positions, timeout))
        self._waiting = waiting
        try:
            await asyncio.wait([waiting])
        finally:
            self._waiting = None
            waiting.cancel()
        return not waiting.cancelled() and waiting.result()

    def to_records(self, records: list[Record]) -> list[Record]:
        """Give them as they are: the log and the agents have the same records."""
        return records

    def _to_message(self, tp: Any, record: Record) -> ConsumerMessage:
        return ConsumerMessage(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_ms / 1000,
            0,
            list(record.headers),
            record.key,
            record.value,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    # --- positions ----------------------------------------------------------------------------

    async def seek_to_committed(self) -> dict[Any, int | None]:
        """Go to the committed offsets of the partitions that have one."""
        tps = [tp for tp in self._assigned if not self._is_changelog_tp(tp)]
        committed = await self.log_handle.committed(self.app.conf.id, tps)
        self._offsets.update({TP(*place): offset for place, offset in committed.items()})
        return {tp: committed.get(tp) for tp in tps}

    async def _seek(self, partition: Any, offset: int) -> None:
        self._offsets[TP(*partition)] = offset

    async def seek_wait(self, partitions: Mapping[Any, int]) -> None:
        """Go to the given offsets."""
        for tp, offset in partitions.items():
            await self.seek(tp, max(offset, 0))

    async def seek_to_beginning(self, *partitions: Any) -> None:
        """Go to the first readable offset of each partition."""
        await self.seek_wait(await self.earliest_offsets(*partitions))

    async def position(self, tp: Any) -> int | None:
        """Return the offset the next fetch begins at."""
        return self._offsets.get(tp)

    def highwater(self, tp: Any) -> int:
        """Return the end of a partition as it was last seen."""
        return max(self._ends.get(tp, 0), self._offsets.get(tp, 0))

    async def highwaters(self, *partitions: Any) -> dict[Any, int]:
        """Return the offset after the last record of each partition."""
        bounds = await self.log_handle.bounds(partitions)
        ends = {TP(*place): its.end for place, its in bounds.items()}
        self._ends.update(ends)
        return ends

    async def earliest_offsets(self, *partitions: Any) -> dict[Any, int]:
        """Return the first readable offset of each partition."""
        bounds = await self.log_handle.bounds(partitions)
        return {TP(*place): its.start for place, its in bounds.items()}

    def topic_partitions(self, topic: str) -> int | None:
        """Return how many partitions a topic has; None when it is not there."""
        return self.topics.partitions(topic)

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """Return the partition of a key, as Kafka would."""
        return partition if partition is not None else self.topics.choose(topic, key)

    # --- commits and topics -------------------------------------------------------------------

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        try:
            await self.log_handle.commit(self.app.conf.id, dict(offsets))
        except HeadraceError as error:
            # The next round tries again; until then a restart repeats what was done since.
            logger.warning("offsets of group %s were not committed: %s", self.app.conf.id, error)
            return False
        return True

    async def create_topic(self, topic: str, partitions: int, replication: int, **options: Any) -> None:
        """Create a topic unless it exists."""
        await self.topics.create(topic, partitions, replication, **options)

    def close(self) -> None:
        """Nothing to do here: the log is let go in `on_shutdown`."""


_members: set[tuple[Path, str]] = set()


def _join(folder: Path, group: str) -> tuple[Path, str]:
    member = (folder, group)
    if member in _members:
        raise Conflict(
            f"join group {group} on the log in {folder}",
            "it has a member already, and on an embedded log there can be only one",
            "stop the other one, or use Kafka to share the work",
        )
    _members.add(member)
    return member


class Transport(base.Transport):
    """The embedded log under Faust."""

    Consumer = Consumer
    Producer = Producer
    Conductor = Conductor

    driver_version = "headrace-embedded"

    def __init__(self, url: list[Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(url, *args, **kwargs)
        if len(url) != 1 or url[0].host or not url[0].path:
            raise SettingError(
                f"Faust broker {';'.join(map(str, url))}",
                "it must name one folder by its absolute path",
                "write headrace-embedded:///folder",
            )
        self.folder = Path(url[0].path)
        quiet.limit_logs()

"""Agent inject, through topics: wherever a parent turns up, its declared children turn up too."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from agents import inject
from agents.run import running
from pipeline.app import Parts, make_parts, open_parts
from pipeline.events.codec import decode_stored
from pipeline.events.delete import DeleteEntity, DeleteEvent, DeleteIds
from pipeline.events.models import Author, BinaryEvent, Datastream, InsertEvent
from pipeline.events.records import completed, record_of
from pipeline.events.topics import EXPEDITE, binary_topic, system_topic
from pipeline.hub.changelogs import app_id
from pipeline.log.port import Bounds, Log, NewRecord, Reader, Record, TopicPartition
from pipeline.objects.keys import stream_key
from pipeline.scan import agents_needed
from pipeline.settings import Settings
from pipeline.web.server import serve
from tests.agents.installation import (
    installation,
    parked_entries,
    records_of,
    settings_in,
    settled,
    until,
)
from tests.events.samples import BINARY, INSERT, changed, without
from tests.events.test_keys import one

HERE, THERE = "testing", "scan"
MANY = 40


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def only_inject(folder: Path) -> Settings:
    """Make settings of an installation that runs nothing else."""
    return settings_in(folder, [inject.NAME])


def insert_sample(parent: str, child: str, *, author: str = "bob", source: str = HERE) -> dict[str, Any]:
    """Give an insert event as posted: `author` says that `child`, stored at `source`, is in `parent`."""
    sample = changed(INSERT, "entity.parent_sha256", parent)
    sample = changed(sample, "entity.child.sha256", child)
    sample = changed(sample, "entity.child.datastreams.0.sha256", child)
    sample = changed(sample, "entity.child_history.sha256", child)
    sample = changed(sample, "entity.child_history.author.name", author)
    return changed(sample, "entity.original_source", source)


def binary_sample(file: str, *, source: str = HERE, action: str = "sourced") -> dict[str, Any]:
    """Give the event with which a file turns up at a source, as posted."""
    sample = changed(BINARY, "entity.sha256", file)
    sample = changed(sample, "action", action)
    sample = changed(sample, "source.name", source)
    node = {**sample["source"]["path"][0], "sha256": file, "action": action}
    return changed(sample, "source.path", [node])


async def publish(parts: Parts, model: str, *samples: dict[str, Any]) -> None:
    """Put posted events on the log, as the hub would."""
    events = [completed(one(model, sample)) for sample in samples]
    await parts.log.append([record_of(parts.settings.events.prefix, event) for event in events])


async def injected(parts: Parts, source: str = HERE, action: str = "extracted") -> list[Record]:
    """Return what stands on a topic of children, in order."""
    return await records_of(parts, binary_topic(parts.settings.events.prefix, source, action))


def event_of(record: Record) -> BinaryEvent:
    """Read a record."""
    event = decode_stored("binary", record.value)
    assert isinstance(event, BinaryEvent)
    return event


def files(records: Sequence[Record]) -> list[str]:
    """Return what the records are about."""
    return [event_of(record).entity.sha256 for record in records]


async def test_a_child_posted_to_the_hub_follows_its_parent_posted_after_it(tmp_path: Path) -> None:
    async with (
        installation(only_inject(tmp_path)) as (parts, _),
        serve(parts, "127.0.0.1:0") as url,
        aiohttp.ClientSession() as client,
    ):
        for model, sample in (("insert", insert_sample("aa", "bb")), ("binary", binary_sample("aa"))):
            posted = f"{url}/api/v2/event?model={model}"
            async with client.post(posted, data=json.dumps([sample])) as response:
                assert response.status == 200, await response.text()

        async def is_there() -> bool:
            return bool(await injected(parts))

        await until(is_there)
        [record] = await injected(parts)
        [parent] = await records_of(parts, binary_topic(parts.settings.events.prefix, HERE, "sourced"))
    child = event_of(record)
    assert [node.sha256 for node in child.source.path] == ["aa", "bb"]
    assert (child.action, child.author.name) == ("extracted", "bob")
    assert child.source.references == event_of(parent).source.references
    bare = msgspec.structs.replace(child, kafka_key="", track_links=(), track_authors=())
    assert completed(bare) == child
    assert (record.key or b"").decode() == child.kafka_key


async def test_an_insert_answered_before_its_parent_was_published_is_never_missed(tmp_path: Path) -> None:
    async with installation(only_inject(tmp_path)) as (parts, agents):
        for number in range(MANY):
            await publish(parts, "insert", insert_sample(f"parent{number}", f"child{number}"))
            await publish(parts, "binary", binary_sample(f"parent{number}"))
        await settled(agents)
        assert files(await injected(parts)) == [f"child{number}" for number in range(MANY)]


class LateInserts:
    """A log whose readers of the insert topic see nothing new until `gate` is set.

    `asked` is set when somebody asks where that topic ends.
    """

    def __init__(self, log: Log, topic: str) -> None:
        self._log = log
        self._topic = topic
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def bounds(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, Bounds]:
        found = await self._log.bounds(places)
        if any(place.topic == self._topic for place in places):
            self.asked.set()
        return found

    def reader(self, positions: Mapping[TopicPartition, int]) -> Reader:
        reader = self._log.reader(positions)
        if any(place.topic == self._topic for place in positions):
            read = reader.read

            async def late(**how: Any) -> list[Record]:
                await self.gate.wait()
                return await read(**how)

            reader.read = late  # type: ignore[method-assign]
        return reader


async def test_a_parent_waits_for_an_insert_that_is_durable_and_not_read_yet(tmp_path: Path) -> None:
    settings = only_inject(tmp_path)
    prefix = settings.events.prefix
    place = TopicPartition(binary_topic(prefix, HERE, "sourced"), 0)
    async with open_parts(make_parts(settings)) as parts:
        late = LateInserts(parts.log, system_topic(prefix, "insert"))
        async with running(replace(parts, log=late)) as agents:
            await publish(parts, "binary", binary_sample("zz"))
            await settled(agents)
            late.asked.clear()
            await publish(parts, "insert", insert_sample("aa", "bb"))
            await publish(parts, "binary", binary_sample("aa"))

            async def asked_or_decided() -> bool:
                decided = await parts.log.committed(app_id(prefix, inject.NAME), [place])
                return late.asked.is_set() or decided.get(place, 0) > 1

            await until(asked_or_decided)
            late.gate.set()
            await settled(agents)
            assert files(await injected(parts)) == ["bb"]


async def test_a_parent_that_turned_up_while_no_worker_ran_gets_its_children(tmp_path: Path) -> None:
    settings = only_inject(tmp_path)
    async with open_parts(make_parts(settings)) as parts:
        await publish(parts, "insert", insert_sample("aa", "bb"))
        await publish(parts, "binary", binary_sample("aa"))
    async with installation(settings) as (parts, agents):
        await settled(agents)
        assert files(await injected(parts)) == ["bb"]


async def test_each_insert_counts_once_a_later_one_replaces_it_and_a_removed_one_is_gone(
    tmp_path: Path,
) -> None:
    async with installation(only_inject(tmp_path)) as (parts, agents):
        corrected = changed(insert_sample("aa", "bb"), "entity.child.size", 7)
        removed = completed(one("insert", insert_sample("aa", "dd"))).kafka_key.encode()
        for child in ("bb", "cc", "dd"):
            await publish(parts, "insert", insert_sample("aa", child))
        await publish(parts, "insert", insert_sample("aa", "bb", author="eve"), corrected)
        topic = system_topic(parts.settings.events.prefix, "insert")
        await parts.log.append([NewRecord(topic, removed, None)])
        await publish(parts, "binary", binary_sample("aa"), binary_sample("zz"))
        await settled(agents)
        children = [event_of(record) for record in await injected(parts)]
        found = {(each.entity.sha256, each.author.name, each.entity.size) for each in children}
        assert found == {("bb", "bob", 7), ("bb", "eve", 0), ("cc", "bob", 0)}
        assert len(children) == 3


async def test_a_child_has_its_bytes_at_every_source_its_parent_turns_up_at(tmp_path: Path) -> None:
    content, text = b"the child", b"its text"
    child = sha256(content)
    streams = [Datastream(label="content", sha256=child), Datastream(label="text", sha256=sha256(text))]
    async with installation(only_inject(tmp_path)) as (parts, agents):
        await parts.objects.put(stream_key(HERE, "content", child), content)
        await parts.objects.put(stream_key(HERE, "text", sha256(text)), text)
        sample = insert_sample("aa", child)
        sample = changed(sample, "entity.child.datastreams", msgspec.to_builtins(streams))
        await publish(parts, "insert", sample)
        await publish(parts, "binary", *(binary_sample("aa", source=source) for source in (HERE, THERE)))
        await settled(agents)
        for source in (HERE, THERE):
            assert files(await injected(parts, source)) == [child]
            for label, data in (("content", content), ("text", text)):
                download = await parts.objects.get(stream_key(source, label, sha256(data)))
                assert b"".join([chunk async for chunk in download]) == data


async def test_a_child_whose_bytes_are_missing_is_injected_all_the_same(tmp_path: Path) -> None:
    async with installation(only_inject(tmp_path)) as (parts, agents):
        await publish(parts, "insert", insert_sample("aa", "0" * 64), insert_sample("aa", "no hash"))
        await publish(parts, "binary", binary_sample("aa", source=THERE))
        await settled(agents)
        assert set(files(await injected(parts, THERE))) == {"0" * 64, "no hash"}
        assert await parked_entries(parts) == []


async def test_files_that_are_children_of_each_other_do_not_call_each_other_up_without_end(
    tmp_path: Path,
) -> None:
    async with installation(only_inject(tmp_path)) as (parts, agents):
        await publish(parts, "insert", insert_sample("aa", "bb"), insert_sample("bb", "aa"))
        await publish(parts, "binary", binary_sample("aa"), binary_sample("bb"))
        await settled(agents)
        assert Counter(files(await injected(parts))) == {"aa": 1, "bb": 1}
    async with installation(only_inject(tmp_path)) as (parts, agents):
        await settled(agents)
        assert len(await injected(parts)) == 2


async def test_a_child_that_was_deleted_is_not_injected(tmp_path: Path) -> None:
    async with installation(only_inject(tmp_path)) as (parts, agents):
        await publish(parts, "insert", insert_sample("aa", "bb"), insert_sample("aa", "cc"))
        await publish(parts, "binary", binary_sample("aa"))
        await settled(agents)
        first = await injected(parts)
        [gone] = [event_of(record).kafka_key for record in first if files([record]) == ["bb"]]
        entity = DeleteEntity(ids=DeleteIds(ids=(gone,)))
        deletion = DeleteEvent(model_version=6, author=Author(name="bob"), entity=entity, action="ids")
        deletion = completed(deletion, lambda size: b"\0" * size)
        await parts.log.append([record_of(parts.settings.events.prefix, deletion)])
        await publish(parts, "binary", binary_sample("aa"))
        await settled(agents)
        assert files((await injected(parts))[len(first) :]) == ["cc"]


async def test_a_worker_killed_before_it_acknowledged_repeats_the_very_same_record(tmp_path: Path) -> None:
    settings = only_inject(tmp_path)
    async with installation(settings) as (parts, agents):
        await publish(parts, "insert", insert_sample("aa", "bb"))
        await publish(parts, "binary", binary_sample("aa"))
        await settled(agents)
    async with open_parts(make_parts(settings)) as parts:
        # What a killed worker leaves: the child is published, its parent is not acknowledged.
        place = TopicPartition(binary_topic(settings.events.prefix, HERE, "sourced"), 0)
        await parts.log.commit(app_id(settings.events.prefix, inject.NAME), {place: 0})
    async with installation(settings) as (parts, agents):
        await settled(agents)
        first, again = await injected(parts)
    assert (first.key, first.value, first.headers) == (again.key, again.value, again.headers)


async def test_the_child_of_an_expedited_parent_takes_the_usual_way(tmp_path: Path) -> None:
    async with installation(only_inject(tmp_path)) as (parts, agents):
        await publish(parts, "insert", insert_sample("aa", "bb"))
        await publish(parts, "binary", changed(binary_sample("aa"), "flags", {"expedite": True}))
        await settled(agents)
        assert files(await injected(parts)) == ["bb"]
        prefix = parts.settings.events.prefix
        assert files(await records_of(parts, system_topic(prefix, EXPEDITE))) == ["aa"]


async def test_nothing_follows_an_event_that_only_says_more_about_its_file(tmp_path: Path) -> None:
    async with installation(only_inject(tmp_path)) as (parts, agents):
        await publish(parts, "insert", insert_sample("aa", "bb"))
        again = binary_sample("aa", action="augmented")
        again = changed(again, "entity.datastreams", [{"label": "content"}, {"label": "text"}])
        nodes = [*binary_sample("aa")["source"]["path"], *again["source"]["path"]]
        enriched = without(binary_sample("aa", action="enriched"), "entity.datastreams")
        await publish(parts, "binary", changed(again, "source.path", nodes), enriched)
        await settled(agents)
        assert await injected(parts) == []


async def test_settings_of_a_submission_reach_a_child_only_as_deep_as_they_are_meant_to(
    tmp_path: Path,
) -> None:
    async with installation(only_inject(tmp_path)) as (parts, agents):
        await publish(parts, "insert", insert_sample("aa", "bb"))
        settings = {"passwords": "infected", "remove_at_depth": "2"}
        await publish(parts, "binary", changed(binary_sample("aa"), "source.settings", settings))
        await settled(agents)
        [child] = map(event_of, await injected(parts))
        assert child.source.settings == {}


async def test_a_child_that_can_never_be_injected_parks_its_parent_alone(
    tmp_path: Path,
) -> None:
    async with installation(only_inject(tmp_path)) as (parts, agents):
        wrong = changed(insert_sample("aa", "bb"), "entity.child.datastreams", [])
        await publish(parts, "insert", wrong, insert_sample("cc", "dd"))
        elsewhere = changed(binary_sample("cc", source="unknown"), "flags", {"expedite": True})
        await publish(parts, "binary", binary_sample("aa"), elsewhere, binary_sample("cc"))
        await settled(agents)
        assert files(await injected(parts)) == ["dd"]
        entries = {entry.topic.rpartition(".")[2]: entry for entry in await parked_entries(parts)}
        assert {name: entry.reason for name, entry in entries.items()} == {
            "sourced": "EventInvalid",
            "expedite": "NotFound",
        }


async def test_an_insert_that_cannot_be_used_declares_nothing_and_stops_nothing(tmp_path: Path) -> None:
    async with installation(only_inject(tmp_path)) as (parts, agents):
        topic = system_topic(parts.settings.events.prefix, "insert")
        nameless = msgspec.json.encode(InsertEvent(model_version=6, author=Author(name="bob")))
        await parts.log.append([NewRecord(topic, b"%d" % n, v) for n, v in enumerate((b"{", nameless))])
        await publish(parts, "insert", insert_sample("aa", "bb"))
        sourced = binary_topic(parts.settings.events.prefix, HERE, "sourced")
        await parts.log.append([NewRecord(sourced, b"k", value) for value in (b"{", b"{}", b"", None)])
        await publish(parts, "binary", binary_sample("aa"))
        await settled(agents)
        assert files(await injected(parts)) == ["bb"]


async def test_a_scan_runs_the_agent_only_when_something_is_declared(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ["enrich", "inject"])
    async with open_parts(make_parts(settings)) as parts:
        assert await agents_needed(parts) == ["enrich"]
        await publish(parts, "insert", insert_sample("aa", "bb"))
        assert await agents_needed(parts) == ["enrich", "inject"]

"""An audit of rows against objects: nothing lost, cut or changed is missed; one bad object ends nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from pipeline import limits, limits_archive, metrics_archive
from pipeline.archive.archive import Archive
from pipeline.archive.audit.audit import Finding, size_of, verify
from pipeline.database.engine import Database
from pipeline.errors import Unavailable
from pipeline.objects.copies import CopiedStore
from pipeline.objects.memory import MemoryStore
from pipeline.objects.port import Download, ObjectStore, Stat
from tests.archive.archived import TOPIC
from tests.archive.harm import (
    FIRST_GENERATION,
    a_store,
    an_archive,
    change_row,
    cut,
    filled,
    first_generation,
    flip_bit,
)

LAYOUTS = pytest.mark.parametrize("layout", ["objects", "packs"])


@pytest.fixture
async def archive(
    database: Database, request: pytest.FixtureRequest, tmp_path: Path, unique: str
) -> AsyncIterator[Archive]:
    """Give an empty archive."""
    async with a_store(database, request, tmp_path, unique) as objects:
        yield an_archive(objects, database, prefix="kept/")


async def audit(archive: Archive, **options: object) -> list[Finding]:
    """Audit everything and return what was found."""
    return [finding async for finding in verify(archive, **options)]  # type: ignore[arg-type]


def anomalies(findings: list[Finding]) -> dict[UUID | None, str]:
    """Give what is wrong with which message."""
    return {finding.uuid: finding.result for finding in findings if not finding.ok}


@LAYOUTS
@pytest.mark.parametrize("crc", [False, True])
async def test_of_a_whole_archive_every_message_is_found_well_once(
    archive: Archive, layout: str, crc: bool
) -> None:
    rows = await filled(archive, layout, messages=5)
    rows += await filled(archive, layout, topic="other", messages=3)
    before = metrics_archive.VERIFIED.labels("ok")._value.get()  # noqa: SLF001 - no public way to read it

    findings = await audit(archive, crc=crc)

    assert Counter(finding.uuid for finding in findings) == Counter(row.uuid for row in rows)
    assert anomalies(findings) == {}
    assert await size_of(archive) == 8
    assert metrics_archive.VERIFIED.labels("ok")._value.get() == before + 8  # noqa: SLF001


async def test_an_object_deleted_behind_our_back_is_told(archive: Archive) -> None:
    rows = await filled(archive)
    await archive.objects.delete(rows[1].key)
    assert anomalies(await audit(archive)) == {rows[1].uuid: "missing"}


async def test_of_a_lost_pack_every_message_is_told(archive: Archive) -> None:
    rows = await filled(archive, "packs")
    await archive.objects.delete(rows[0].key)
    assert anomalies(await audit(archive, crc=True)) == dict.fromkeys([row.uuid for row in rows], "missing")


async def test_a_truncated_object_is_told(archive: Archive) -> None:
    rows = await filled(archive)
    await cut(archive.objects, rows[2].key, rows[2].size - 1)
    findings = await audit(archive)
    assert anomalies(findings) == {rows[2].uuid: "size"}
    (found,) = [finding for finding in findings if not finding.ok]
    assert found.detail == f"{rows[2].size - 1} bytes, its row says {rows[2].size}"


async def test_of_a_truncated_pack_the_messages_behind_the_cut_are_told(archive: Archive) -> None:
    rows = await filled(archive, "packs")
    assert rows[2].pack_offset is not None
    await cut(archive.objects, rows[0].key, rows[2].pack_offset + 10)
    for crc in (False, True):
        found = anomalies(await audit(archive, crc=crc))
        assert found == {rows[2].uuid: "size", rows[3].uuid: "size", None: "size"}


@LAYOUTS
async def test_a_row_with_a_wrong_size_is_told(archive: Archive, layout: str) -> None:
    rows = await filled(archive, layout)
    await change_row(archive.database, rows[3], size=rows[3].size + 1)
    assert anomalies(await audit(archive)) == {rows[3].uuid: "size"}


@LAYOUTS
async def test_a_flipped_bit_of_a_payload_is_told_with_its_message(archive: Archive, layout: str) -> None:
    rows = await filled(archive, layout)
    await flip_bit(archive.objects, rows[1])
    assert anomalies(await audit(archive)) == {}

    findings = await audit(archive, crc=True)

    assert anomalies(findings) == {rows[1].uuid: "damaged"}
    (found,) = [finding for finding in findings if not finding.ok]
    assert "its payload: CRC-32" in found.detail


@LAYOUTS
async def test_a_flipped_bit_beside_the_payload_is_told_as_such(archive: Archive, layout: str) -> None:
    rows = await filled(archive, layout)
    await flip_bit(archive.objects, rows[1], b"annotations")
    (found,) = [finding for finding in await audit(archive, crc=True) if not finding.ok]
    assert (found.uuid, found.result) == (rows[1].uuid, "damaged")
    assert "its payload is as it was" in found.detail


async def test_damage_between_the_messages_of_a_pack_is_told(archive: Archive) -> None:
    rows = await filled(archive, "packs")
    data = b"".join([chunk async for chunk in await archive.objects.get(rows[0].key)])
    await archive.objects.put(rows[0].key, data + b"\x05\x00\x00\x00\x00")
    assert anomalies(await audit(archive)) == {None: "size"}


@LAYOUTS
async def test_a_row_that_says_another_payload_is_told(archive: Archive, layout: str) -> None:
    rows = await filled(archive, layout)
    await change_row(archive.database, rows[0], sha256=bytes(32))
    (found,) = [finding for finding in await audit(archive, crc=True) if not finding.ok]
    assert (found.uuid, found.detail) == (
        rows[0].uuid,
        "its payload: its SHA-256 is not the one in its row",
    )


@pytest.mark.parametrize("variant", FIRST_GENERATION)
async def test_objects_of_the_first_generation_are_audited_with_their_payloads(
    archive: Archive, variant: str
) -> None:
    headers, key = FIRST_GENERATION[variant]
    row = await first_generation(archive, uuid4(), headers, key=key)
    assert [finding.result for finding in await audit(archive, crc=True)] == ["ok"]
    await flip_bit(archive.objects, row, b'{"a"')
    assert anomalies(await audit(archive, crc=True)) == {row.uuid: "damaged"}


async def test_a_large_object_is_read_in_pieces_and_its_payload_found(archive: Archive) -> None:
    row = (await filled(archive, messages=1))[0]
    large = row.size + 3 * limits.CHUNK_BYTES
    await archive.objects.put(row.key, bytes(large))
    await change_row(archive.database, row, size=large)
    (found,) = await audit(archive, crc=True)
    assert (found.result, "its payload: not found" in found.detail) == ("damaged", True)


@LAYOUTS
async def test_pages_that_end_within_a_pack_lose_and_repeat_nothing(
    archive: Archive, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_AUDIT_ROWS", 3)
    rows = [
        *await filled(archive, layout, messages=7),
        *await filled(archive, "packs", topic="b", messages=4),
    ]
    findings = await audit(archive, crc=True)
    assert Counter(finding.uuid for finding in findings) == Counter(row.uuid for row in rows)
    assert anomalies(findings) == {}


@LAYOUTS
async def test_a_sample_has_as_many_messages_as_asked_for(archive: Archive, layout: str) -> None:
    rows = await filled(archive, layout, messages=30)
    for asked, given in ((10, 10), (30, 30), (100, 30)):
        findings = await audit(archive, sample=asked, crc=True)
        assert len({finding.uuid for finding in findings}) == len(findings) == given
        assert {finding.uuid for finding in findings} <= {row.uuid for row in rows}
        assert anomalies(findings) == {}
    await flip_bit(archive.objects, rows[3])
    assert anomalies(await audit(archive, sample=30, crc=True)) == {rows[3].uuid: "damaged"}


async def test_an_empty_archive_has_nothing_anomalous(archive: Archive) -> None:
    assert await audit(archive) == await audit(archive, sample=100) == []


async def test_topics_are_chosen_as_by_like_with_case_told_apart(archive: Archive) -> None:
    for topic in ("gcn.notice", "gcn_notice", "GCN.notice", "gcn"):
        await filled(archive, topic=topic, messages=1)
    for like, number in (("%", 4), ("gcn%", 3), ("gcn_notice", 2), ("gcn\\_notice", 1), ("x%", 0)):
        assert len(await audit(archive, like=like)) == await size_of(archive, like=like) == number
    assert len(await audit(archive, like="gcn%", sample=100)) == 3


class Refusing(MemoryStore):
    """A store that does not answer about some keys."""

    refused: str = ""

    async def stat(self, key: str) -> Stat | None:
        """Refuse, or answer."""
        if self.refused in key:
            raise Unavailable(f"look up {key}", "connection reset")
        return await super().stat(key)


async def test_an_object_that_cannot_be_looked_at_stops_nothing_but_a_store_that_is_down_does(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Refusing(tmp_path / "spool")
    await store.open()
    archive = an_archive(store, database)
    rows = await filled(archive, messages=6)
    store.refused = str(rows[2].uuid)
    assert anomalies(await audit(archive)) == {rows[2].uuid: "unreadable"}

    store.refused = TOPIC
    monkeypatch.setattr(limits_archive, "ARCHIVE_AUDIT_FAILURES", 3)
    with pytest.raises(Unavailable, match="audit the archive"):
        await audit(archive)
    await store.close()


class Counting(MemoryStore):
    """A store that counts what is read of it."""

    reads = 0

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> Download:  # type: ignore[override]
        """Count, and read."""
        self.reads += 1
        return await super().get(key, first=first, last=last)


async def test_a_pack_is_read_once_not_once_a_message(database: Database, tmp_path: Path) -> None:
    store = Counting(tmp_path / "spool")
    await store.open()
    archive = an_archive(store, database)
    await filled(archive, "packs", messages=20)
    store.reads = 0
    assert len(await audit(archive, crc=True)) == 20
    assert store.reads == 1
    await store.close()


async def test_both_copies_are_audited_and_the_backups_faults_are_told_as_such(
    archive: Archive, tmp_path: Path
) -> None:
    second = MemoryStore(tmp_path / "second")
    await second.open()
    objects: ObjectStore = CopiedStore(archive.objects, second)
    both = an_archive(objects, archive.database, prefix="kept/")
    single = await filled(both, messages=3)
    packed = await filled(both, "packs", topic="b", messages=3)
    await second.delete(single[0].key)
    await archive.objects.delete(single[1].key)
    await flip_bit(second, packed[1])

    findings = await audit(both, crc=True)

    wrong = {finding.uuid: (finding.result, finding.detail[:14]) for finding in findings if not finding.ok}
    assert wrong == {
        single[0].uuid: ("missing", "in the backup"),
        single[1].uuid: ("missing", ""),
        packed[1].uuid: ("damaged", "in the backup:"),
    }
    assert len(findings) == 6
    await second.close()

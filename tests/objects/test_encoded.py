"""Streams at rest, byte by byte as the dispatcher contract describes them (section 18).

What is read here was encoded by hand from that description, and what was written is decoded by hand.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pipeline import limits
from pipeline.errors import BadInput, Conflict, Damaged, NotFound, Unavailable
from pipeline.objects.encoded import EncodedStore
from pipeline.objects.folder import FolderStore
from pipeline.objects.forms import Use, readable_forms
from pipeline.objects.hashing import store_stream
from pipeline.objects.memory import MemoryDownload, MemoryStore
from pipeline.objects.port import ObjectStore
from tests.stores import AES_KEY, bytes_of, pieces

SALT = b"12345678"
COUNTER = bytes(range(16))
ENDINGS = ("", ".xor", ".aesc1", ".aesc1.xor")
CONTENT = bytes_of(100_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = f"source/content/{SHA256}"


def xored(data: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, cycle(b"iloveazul1234567"), strict=False))


def sealed(data: bytes, salt: bytes = SALT, counter: bytes = COUNTER, key: bytes = AES_KEY) -> bytes:
    cipher = Cipher(algorithms.AES256(key + salt), modes.CTR(counter)).encryptor()
    return salt + counter + cipher.update(data) + cipher.finalize()


def by_hand(data: bytes, ending: str) -> bytes:
    if ending.startswith(".aesc1"):
        data = sealed(data)
    return xored(data) if ending.endswith(".xor") else data


def opened_by_hand(data: bytes, ending: str) -> bytes:
    if ending.endswith(".xor"):
        data = xored(data)
    if ending.startswith(".aesc1"):
        salt, counter, data = data[:8], data[8:24], data[24:]
        data = sealed(data, salt, counter)[24:]
    return data


@asynccontextmanager
async def encoded(
    tmp_path: Path,
    aes: Use = "enabled",
    xor: Use = "enabled",
    *,
    inner: ObjectStore | None = None,
    key: bytes = AES_KEY,
    check: bool = True,
) -> AsyncIterator[tuple[EncodedStore, ObjectStore]]:
    inner = inner or MemoryStore(tmp_path / "spool")
    forms = readable_forms(aes=aes, xor=xor)
    store = EncodedStore(inner, forms, tmp_path / "spool", aes_key=key, check_content=check)
    await store.open()
    try:
        yield store, inner
        assert not list((tmp_path / "spool").glob("*/*")), "no local copy is left behind"
    finally:
        await store.close()


async def read(store: ObjectStore, key: str = KEY, **span: int) -> bytes:
    return b"".join([chunk async for chunk in await store.get(key, **span)])


async def stored_keys(store: ObjectStore) -> set[str]:
    return {stat.key async for stat in store.list()}


WRITES: Sequence[tuple[Use, Use, str]] = [
    ("off", "enabled", ".xor"),
    ("enabled", "off", ".aesc1"),
    ("enabled", "readonly", ".aesc1"),
    ("enabled", "enabled", ".aesc1.xor"),
    ("readonly", "enabled", ".xor"),
    ("readonly", "readonly", ""),
]


@pytest.mark.parametrize(("aes", "xor", "ending"), WRITES)
@pytest.mark.parametrize("size_bytes", [1, 16, limits.HASH_INLINE_BYTES + 1, limits.OBJECT_BATCH_BYTES + 5])
async def test_what_is_written_can_be_decoded_by_hand(
    tmp_path: Path, aes: Use, xor: Use, ending: str, size_bytes: int
) -> None:
    data = bytes_of(size_bytes)
    async with encoded(tmp_path, aes, xor) as (store, inner):
        digest, stat = await store_stream(
            store, pieces(data), lambda found: f"source/content/{found.sha256}", metadata={"name": "x"}
        )
        key = f"source/content/{digest.sha256}"
        assert (stat.key, stat.size_bytes, stat.metadata) == (key, size_bytes, {"name": "x"})
        assert await stored_keys(inner) == {key + ending}
        raw = await read(inner, key + ending)
        assert (data in raw) == (ending == "")
        assert opened_by_hand(raw, ending) == data


SPANS = [(0, 0), (0, 15), (15, 16), (16, 31), (7, 99_999), (99_999, 99_999), (5, 10**9)]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("aes", "xor"), [("enabled", "enabled"), ("readonly", "readonly")])
async def test_what_others_stored_in_any_form_is_read(
    tmp_path: Path, aes: Use, xor: Use, ending: str
) -> None:
    async with encoded(tmp_path, aes, xor) as (store, inner):
        await inner.put(KEY + ending, by_hand(CONTENT, ending), metadata={"name": "theirs"})
        assert await read(store) == CONTENT
        for first, last in SPANS:
            assert await read(store, first=first, last=last) == CONTENT[first : last + 1]
        async with store.file(KEY) as path:
            assert await asyncio.to_thread(path.read_bytes) == CONTENT
        for stat in (await store.stat(KEY), (await store.get(KEY, first=9)).stat):
            assert stat is not None
            assert (stat.key, stat.size_bytes, stat.metadata) == (KEY, len(CONTENT), {"name": "theirs"})
        assert [(stat.key, stat.size_bytes) async for stat in store.list("source/")] == [
            (KEY, len(CONTENT))
        ]
        with pytest.raises(BadInput, match=f"{len(CONTENT)} bytes"):
            await store.get(KEY, first=len(CONTENT))


@pytest.mark.parametrize("ending", [".aesc1", ".aesc1.xor"])
async def test_a_range_far_into_an_object_is_exact_and_reads_no_more(tmp_path: Path, ending: str) -> None:
    data = bytes_of(5 * limits.CHUNK_BYTES)
    async with encoded(tmp_path, inner=(counting := _Counting(tmp_path / "spool"))) as (store, inner):
        await inner.put(KEY + ending, by_hand(data, ending))
        for start in (limits.CHUNK_BYTES, limits.CHUNK_BYTES + 1, 4 * limits.CHUNK_BYTES + 7):
            counting.opened_bytes = 0
            assert await read(store, first=start, last=start + 40) == data[start : start + 41]
            assert counting.opened_bytes <= limits.CHUNK_BYTES + 100
        assert await read(store, first=len(data) - 3) == data[-3:]
        with pytest.raises(BadInput, match=f"{len(data)} bytes"):
            await store.get(KEY, first=len(data))
        with pytest.raises(BadInput):
            await store.get(KEY, first=len(data) + 24, last=len(data) + 30)


async def test_the_counter_of_an_encrypted_object_may_run_over(tmp_path: Path) -> None:
    data = bytes_of(3 * limits.CHUNK_BYTES)
    async with encoded(tmp_path, check=False) as (store, inner):
        await inner.put(KEY + ".aesc1", sealed(data, counter=b"\xff" * 16))
        assert await read(store) == data
        start = 2 * limits.CHUNK_BYTES + 5
        assert await read(store, first=start) == data[start:]


@pytest.mark.parametrize(
    ("aes", "xor", "order"),
    [
        ("enabled", "enabled", [".aesc1.xor", ".aesc1", ".xor", ""]),
        ("enabled", "readonly", [".aesc1", ".aesc1.xor", "", ".xor"]),
        ("readonly", "off", ["", ".aesc1"]),
        ("off", "readonly", ["", ".xor"]),
    ],
)
async def test_of_several_forms_the_preferred_one_is_read_and_one_is_listed(
    tmp_path: Path, aes: Use, xor: Use, order: list[str]
) -> None:
    async with encoded(tmp_path, aes, xor, check=False) as (store, inner):
        for ending in order:
            await inner.put(KEY + ending, by_hand(ending.encode() or b"plain", ending))
        for ending in order:
            expected = ending.encode() or b"plain"
            assert await read(store) == expected
            assert [(stat.key, stat.size_bytes) async for stat in store.list()] == [(KEY, len(expected))]
            async with store.file(KEY) as path:
                assert await asyncio.to_thread(path.read_bytes) == expected
            await inner.delete(KEY + ending)
        with pytest.raises(NotFound):
            await store.get(KEY)


async def test_a_form_that_is_off_is_not_read(tmp_path: Path) -> None:
    async with encoded(tmp_path, "off", "enabled") as (store, inner):
        await inner.put(KEY + ".aesc1", by_hand(CONTENT, ".aesc1"))
        assert await store.stat(KEY) is None
        assert await stored_keys(store) == {KEY + ".aesc1"}


async def test_deleting_removes_every_form_also_those_that_are_off(tmp_path: Path) -> None:
    async with encoded(tmp_path, "off", "enabled") as (store, inner):
        for ending in ENDINGS:
            await inner.put(KEY + ending, b"x" * 30)
        assert await store.delete(KEY) is True
        assert await store.delete(KEY) is False
        assert await stored_keys(inner) == set()


async def test_a_copy_keeps_the_stored_form_and_its_bytes(tmp_path: Path) -> None:
    target = KEY.replace("source", "target")
    for ending in ENDINGS:
        async with encoded(tmp_path) as (store, inner):
            await inner.put(KEY + ending, by_hand(CONTENT, ending), metadata={"name": "x"})
            await store.copy(KEY, target)
            assert await read(inner, target + ending) == by_hand(CONTENT, ending)
            assert await read(store, target) == CONTENT


async def test_only_streams_are_encoded(tmp_path: Path) -> None:
    keys = (
        "archive/topic/2026/1/2/3/x.bson",
        "parked/x",
        SHA256,
        f"a/{SHA256}",
        f"a/b/c/{SHA256}",
        "a/b/c",
    )
    async with encoded(tmp_path) as (store, inner):
        for key in keys:
            await store.put(key, pieces(CONTENT))
            assert await read(inner, key) == await read(store, key) == CONTENT
        assert await stored_keys(inner) == await stored_keys(store) == set(keys)


async def test_a_wrong_key_never_gives_wrong_bytes_for_a_whole_object(tmp_path: Path) -> None:
    data = bytes_of(3 * limits.CHUNK_BYTES)
    key = f"source/content/{hashlib.sha256(data).hexdigest()}"
    async with encoded(tmp_path, key=AES_KEY[::-1]) as (store, inner):
        await inner.put(key + ".aesc1", sealed(data))
        chunks = aiter(await store.get(key))
        got_bytes = len(await anext(chunks)) + len(await anext(chunks)) + len(await anext(chunks))
        assert len(data) - limits.CHUNK_BYTES < got_bytes < len(data)
        with pytest.raises(Damaged, match="aes_key"):
            await anext(chunks)
        with pytest.raises(Damaged):
            async with store.file(key):
                pytest.fail("a local file with wrong bytes")


async def test_content_that_is_stored_again_changes_no_byte_and_other_content_has_another_keystream(
    tmp_path: Path,
) -> None:
    async with encoded(tmp_path, xor="off") as (store, inner):
        await store.put(KEY, CONTENT)
        before = await read(inner, KEY + ".aesc1")
        await store.put(KEY, pieces(CONTENT))
        assert await read(inner, KEY + ".aesc1") == before
        other = KEY[:-1] + ("0" if KEY[-1] != "0" else "1")
        await store.put(other, CONTENT)
        assert (await read(inner, other + ".aesc1"))[:24] != before[:24]


async def test_a_form_that_is_there_already_is_a_conflict_when_asked_for(tmp_path: Path) -> None:
    for ending in ENDINGS:
        async with encoded(tmp_path) as (store, inner):
            await inner.put(KEY + ending, by_hand(CONTENT, ending))
            with pytest.raises(Conflict):
                await store.put(KEY, CONTENT, only_if_absent=True)
            assert await stored_keys(inner) == {KEY + ending}


async def test_nothing_is_deleted_while_one_form_is_young(tmp_path: Path) -> None:
    async with encoded(tmp_path, "off", "enabled") as (store, inner):
        old = (await inner.put(KEY, CONTENT)).modified
        young = (await inner.put(KEY + ".aesc1", by_hand(CONTENT, ".aesc1"))).modified
        assert old < young
        assert await store.delete(KEY, older_than=young) is False
        assert await stored_keys(inner) == {KEY, KEY + ".aesc1"}


async def test_an_encrypted_object_cut_short_is_reported_and_stops_no_listing(tmp_path: Path) -> None:
    async with encoded(tmp_path) as (store, inner):
        await inner.put(KEY + ".aesc1", b"x" * 23)
        with pytest.raises(Damaged):
            await store.get(KEY)
        with pytest.raises(Damaged):
            await store.stat(KEY)
        assert await stored_keys(store) == {KEY + ".aesc1"}


async def test_a_range_never_mixes_two_writings_of_one_object(tmp_path: Path) -> None:
    """Another writer replaces the object, under another header, between our two requests."""
    data = bytes_of(3 * limits.CHUNK_BYTES)
    start = 2 * limits.CHUNK_BYTES
    for times, expected in ((1, data[start:]), (100, None)):
        replacing = _Replacing(tmp_path / "spool", sealed(data, salt=b"otherone"), times)
        async with encoded(tmp_path, inner=replacing) as (store, inner):
            await inner.put(KEY + ".aesc1", sealed(data))
            if expected is not None:
                assert await read(store, first=start) == expected
            else:
                with pytest.raises(Unavailable, match="replaced"):
                    await store.get(KEY, first=start)


async def test_encoded_forms_lie_in_the_same_shard_folders(tmp_path: Path) -> None:
    async with encoded(tmp_path, inner=FolderStore(tmp_path / "objects")) as (store, inner):
        await store.put(KEY, CONTENT)
        place = tmp_path / "objects/source/content" / SHA256[0] / SHA256[1]
        assert [path.name for path in place.iterdir()] == [f"{SHA256}.aesc1.xor"]
        assert await stored_keys(inner) == {f"{KEY}.aesc1.xor"}
        assert await stored_keys(store) == {KEY}


class _Counting(MemoryStore):
    """Counts the bytes that are opened."""

    opened_bytes = 0

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> MemoryDownload:
        download = await super().get(key, first=first, last=last)
        self.opened_bytes += download.length_bytes
        return download


class _Replacing(MemoryStore):
    """Replaces an object, so many times, right after it was opened behind its start."""

    def __init__(self, spool: Path, data: bytes, times: int) -> None:
        super().__init__(spool)
        self._data = data
        self._times = times

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> MemoryDownload:
        download = await super().get(key, first=first, last=last)
        if first and self._times:
            self._times -= 1
            await self.put(key, self._data)
        return download

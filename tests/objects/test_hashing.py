"""Hashes while bytes stream."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.errors import NotFound
from pipeline.objects.hashing import HashingStream, hash_bytes, store_stream
from pipeline.objects.memory import MemoryStore
from tests.stores import bytes_of, pieces


@pytest.mark.parametrize("size_bytes", [0, 1, 65_521, 5_000_000])
async def test_a_stream_is_passed_on_unchanged_and_its_digest_is_known(size_bytes: int) -> None:
    data = bytes_of(size_bytes)
    stream = HashingStream(pieces(data))

    assert b"".join([chunk async for chunk in stream]) == data

    digest = await stream.digest()
    assert digest == hash_bytes(data)
    assert digest.size_bytes == size_bytes
    for name in ("md5", "sha1", "sha256", "sha512"):
        assert getattr(digest, name) == hashlib.new(name, data).hexdigest()


async def test_the_digest_of_a_stream_left_early_is_that_of_what_was_passed_on() -> None:
    stream = HashingStream(pieces(b"abcdef", 2))
    async for chunk in stream:
        assert chunk == b"ab"
        break
    assert await stream.digest() == hash_bytes(b"ab")


async def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "spool")
    await store.open()
    with pytest.raises(NotFound, match="missing"):
        await store_stream(store, tmp_path / "missing", lambda digest: digest.sha256)
    await store.close()

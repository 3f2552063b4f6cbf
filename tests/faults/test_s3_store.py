"""An S3 store whose server is down, silent, or lost in the middle; the server is real, behind a door."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from pipeline import limits, metrics
from pipeline.clock import ManualClock
from pipeline.errors import Conflict, SettingError, Unavailable
from pipeline.objects.location import s3_config
from pipeline.objects.s3 import S3Store
from pipeline.objects.s3_client import S3Client
from pipeline.objects.s3_config import S3Config
from tests.conftest import S3Server
from tests.doors import Door
from tests.stores import Uploads, bytes_of, pieces, s3_url, subprocess_environment

pytestmark = pytest.mark.s3
LARGE_BYTES = 3 * limits.S3_PART_BYTES + 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause only shortly between tries."""
    monkeypatch.setattr(limits, "CALL_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(limits, "CALL_BACKOFF_MAX_SECONDS", 0.05)


@pytest.fixture
async def door(s3_server: S3Server) -> AsyncIterator[Door]:
    """Give an open door before the server."""
    where = urlsplit(s3_server.endpoint)
    made = Door(where.hostname or "", where.port or 0)
    await made.open()
    yield made
    await made.shut()


@pytest.fixture
def config(s3_server: S3Server, unique: str, door: Door) -> S3Config:
    """Give the way through the door into an empty part of the bucket."""
    config = s3_config(s3_url(s3_server, unique))
    return msgspec.structs.replace(config, endpoint=f"http://127.0.0.1:{door.port}")


@pytest.fixture
async def store(config: S3Config, door: Door, tmp_path: Path) -> AsyncIterator[S3Store]:
    """Give an open store behind the door; its objects are removed afterwards."""
    opened = S3Store(config, tmp_path)
    await opened.open()
    yield opened
    await door.shut()
    door.silent = False
    await door.open()
    for key in [stat.key async for stat in opened.list()]:
        await opened.delete(key)
    await opened.close()


@pytest.fixture
def uploads(s3_server: S3Server, unique: str) -> Uploads:
    """Give a look at the unfinished uploads of the store."""
    return Uploads(s3_server, unique)


async def _read(store: S3Store, key: str) -> bytes:
    return b"".join([chunk async for chunk in await store.get(key)])


def _retries(call: str) -> float:
    return (
        metrics.REGISTRY.get_sample_value(
            "headrace_outside_call_retries_total", {"part": "object store", "call": call}
        )
        or 0.0
    )


async def _until_retried(call: str, before: float) -> None:
    async with asyncio.timeout(20):
        while _retries(call) == before:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0)


# --- down ---


async def test_down_at_the_start_is_told_and_it_opens_when_it_is_back(
    config: S3Config, door: Door, tmp_path: Path
) -> None:
    store = S3Store(config, tmp_path)
    await door.shut()
    with pytest.raises(Unavailable, match="open the bucket"):
        await store.open()

    await door.open()
    await store.open()

    assert await store.stat("a/b") is None
    await store.close()


async def test_a_put_waits_out_a_short_absence(
    store: S3Store, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CALL_BACKOFF_MAX_SECONDS", 5)
    monkeypatch.setattr(limits, "CALL_BACKOFF_SECONDS", 0.3)
    before = _retries("put")
    await door.shut()

    put = asyncio.create_task(store.put("a/b", b"x"))
    await _until_retried("put", before)
    await door.open()
    await put

    assert await _read(store, "a/b") == b"x"


async def test_a_long_absence_is_an_error_of_every_operation_and_passes(store: S3Store, door: Door) -> None:
    await store.put("a/b", b"x")
    await door.shut()

    for call in (
        lambda: store.put("a/c", b"y"),
        lambda: store.put("a/c", pieces(bytes_of(LARGE_BYTES))),
        lambda: store.get("a/b"),
        lambda: store.stat("a/b"),
        lambda: store.delete("a/b"),
        lambda: store.copy("a/b", "a/c"),
        lambda: anext(store.list()),
    ):
        with pytest.raises(Unavailable):
            await call()

    await door.open()
    assert {stat.key async for stat in store.list()} == {"a/b"}
    assert await _read(store, "a/b") == b"x"


async def test_a_silent_server_is_given_up(
    config: S3Config, door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OBJECT_CALL_TIMEOUT_SECONDS", 0.2)
    store = S3Store(config, tmp_path)
    door.silent = True
    with pytest.raises(Unavailable):
        await store.open()
    await store.close()


# --- lost in the middle ---


async def test_reading_goes_on_where_a_cut_connection_left_it(store: S3Store, door: Door) -> None:
    data = bytes_of(LARGE_BYTES)
    await store.put("a/large", data)
    got = []

    async for chunk in await store.get("a/large", first=1000):
        got.append(chunk)
        if len(got) in (1, 40):
            await door.slam()

    assert b"".join(got) == data[1000:]


async def test_reading_never_mixes_two_versions_of_an_object(store: S3Store, door: Door) -> None:
    await store.put("a/large", bytes_of(LARGE_BYTES, "one"))
    download = await store.get("a/large")
    await store.put("a/large", bytes_of(LARGE_BYTES, "two"))
    await door.slam()

    with pytest.raises(Conflict, match="replaced"):
        async for _ in download:
            pass


async def test_an_upload_survives_cut_connections_whole(
    store: S3Store, door: Door, uploads: Uploads
) -> None:
    data = bytes_of(LARGE_BYTES)

    async def cut_on_the_way() -> AsyncIterator[bytes]:
        async for piece in pieces(data, limits.MIB):
            yield piece
            if door.passed_bytes > limits.S3_PART_BYTES:
                await door.slam()
                door.passed_bytes = 0

    await store.put("a/large", cut_on_the_way())

    assert await _read(store, "a/large") == data
    assert await uploads.unfinished() == []


async def test_an_upload_whose_last_answer_is_lost_is_not_taken_for_failed(
    store: S3Store, door: Door
) -> None:
    data = bytes_of(LARGE_BYTES)
    door.lose_answer_to = b"<CompleteMultipartUpload"

    await store.put("a/large", pieces(data))

    assert door.lost.is_set()
    assert await _read(store, "a/large") == data


async def test_an_upload_that_could_not_be_removed_is_removed_later(
    store: S3Store, config: S3Config, door: Door, uploads: Uploads, tmp_path: Path
) -> None:
    async def shut_on_the_way() -> AsyncIterator[bytes]:
        async for piece in pieces(bytes_of(LARGE_BYTES), limits.S3_PART_BYTES):
            yield piece
        await door.shut()

    with pytest.raises(Unavailable):
        await store.put("a/large", shut_on_the_way())
    await door.open()
    assert await store.stat("a/large") is None
    left = await uploads.unfinished()
    assert left == [config.path("a/large")]

    now = dt.datetime.now(dt.UTC)
    for age, still_there in ((dt.timedelta(hours=1), left), (dt.timedelta(days=2), [])):
        later = S3Store(config, tmp_path, ManualClock(now + age))
        await later.open()
        await later.put("a/other", pieces(bytes_of(LARGE_BYTES)))
        await later.close()
        assert await uploads.unfinished() == still_there


# --- the end of a program ---

READER = """
import asyncio, sys
from pathlib import Path
from pipeline.objects.location import make_store

async def main(url, data):
    store = make_store(url, data_folder=Path(data))
    await store.open()
    await store.put("a/b", bytes(3_000_000))
    async for _ in await store.get("a/b"):
        pass
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_program_that_ends_right_after_its_work_ends_well(
    s3_server: S3Server, unique: str, tmp_path: Path
) -> None:
    """The asyncio binding of the S3 library aborted about every fourth such program."""
    url = s3_url(s3_server, unique)
    for _ in range(8):
        subprocess.run(
            [sys.executable, "-c", READER, url, str(tmp_path)],
            check=True,
            env=subprocess_environment(),
            timeout=60,
        )
    asyncio.run(_remove(s3_config(url), tmp_path, "a/b"))


async def _remove(config: S3Config, spool: Path, key: str) -> None:
    store = S3Store(config, spool)
    await store.open()
    await store.delete(key)
    await store.close()


# --- not let in ---


async def test_a_wrong_secret_is_a_wrong_setting(config: S3Config, tmp_path: Path) -> None:
    store = S3Store(msgspec.structs.replace(config, secret_key="wrong"), tmp_path)
    with pytest.raises(SettingError, match="403") as refused:
        await store.open()
    assert "wrong" not in str(refused.value)
    await store.close()


async def test_a_missing_bucket_is_made(config: S3Config, unique: str, tmp_path: Path) -> None:
    config = msgspec.structs.replace(config, bucket=unique, prefix="")
    for _ in range(2):
        store = S3Store(config, tmp_path)
        await store.open()
        await store.put("a/b", b"x")
        assert await store.delete("a/b")
        await store.close()
    client = S3Client(config)
    await client.create_bucket()
    await client.call("delete bucket", "tidy up", lambda s3: s3.delete_bucket(Bucket=unique))
    await client.close()

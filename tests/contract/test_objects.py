"""What every object store must do, whichever it is (`pipeline.objects.port`)."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from pipeline import limits
from pipeline.errors import BadInput, Conflict, NotFound, TooLarge
from pipeline.objects.hashing import Digest, store_stream
from pipeline.objects.keys import stream_key
from pipeline.objects.sources import Source
from tests.stores import KINDS, Bench, bytes_of, open_bench, pieces

SHA256 = hashlib.sha256(b"some content").hexdigest()
KEY = f"source/content/{SHA256}"
LARGE_BYTES = limits.S3_PART_BYTES + limits.OBJECT_BATCH_BYTES + 1
"""More than any store handles in one piece."""


@pytest.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> AsyncIterator[Bench]:
    """Give an empty store of each kind; a call that blocks the event loop fails the test."""
    async with open_bench(
        request.param, tmp_path, unique, lambda: request.getfixturevalue("s3_server")
    ) as opened:
        # The client is loaded on an event loop of its own, in a thread, which may block.
        with blockbuster_ctx("pipeline.objects", excluded_modules=["pipeline.objects.s3_client"]):
            yield opened


# --- whole objects ---

EDGES = [
    0,
    1,
    limits.CHUNK_BYTES - 1,
    limits.CHUNK_BYTES,
    limits.CHUNK_BYTES + 1,
    limits.OBJECT_BATCH_BYTES - 1,
    limits.OBJECT_BATCH_BYTES,
    limits.OBJECT_BATCH_BYTES + 1,
    limits.S3_PART_BYTES,
    limits.S3_PART_BYTES + 1,
    2 * limits.S3_PART_BYTES,
]


@pytest.mark.parametrize("size_bytes", EDGES)
@pytest.mark.parametrize("kind", ["bytes", "file", "stream"])
async def test_what_is_read_never_differs_from_what_was_put(
    bench: Bench, tmp_path: Path, kind: str, size_bytes: int
) -> None:
    data = bytes_of(size_bytes)
    path = tmp_path / "source"
    await asyncio.to_thread(path.write_bytes, data)
    sources: dict[str, Source] = {"bytes": data, "file": path, "stream": pieces(data)}

    put = await bench.store.put(KEY, sources[kind])

    download = await bench.store.get(KEY)
    chunks = [chunk async for chunk in download]
    assert b"".join(chunks) == data
    assert all(0 < len(chunk) <= limits.CHUNK_BYTES for chunk in chunks)
    assert download.length_bytes == put.size_bytes == size_bytes
    assert await bench.unfinished() == []


async def test_putting_again_replaces_bytes_and_metadata(bench: Bench) -> None:
    await bench.store.put(KEY, b"old", metadata={"name": "old.txt"})
    before = await bench.store.stat(KEY)

    await bench.store.put(KEY, b"newer")

    after = await bench.store.stat(KEY)
    assert before is not None
    assert after is not None
    assert (after.size_bytes, after.metadata) == (5, {})
    assert after.modified >= before.modified
    assert await bench.read(KEY) == b"newer"


async def test_the_time_of_an_object_is_when_it_was_stored(bench: Bench) -> None:
    slack = dt.timedelta(seconds=5)
    before = dt.datetime.now(dt.UTC) - slack
    put = await bench.store.put(KEY, b"x")
    stat = await bench.store.stat(KEY)
    assert stat is not None
    assert before <= stat.modified <= before + 2 * slack
    assert before <= put.modified <= before + 2 * slack


@pytest.mark.parametrize("size_bytes", [1, limits.OBJECT_BATCH_BYTES + 1, LARGE_BYTES])
async def test_put_only_if_absent_never_changes_what_is_there(bench: Bench, size_bytes: int) -> None:
    data = bytes_of(size_bytes)
    await bench.store.put(KEY, pieces(data), only_if_absent=True, metadata={"name": "first"})

    with pytest.raises(Conflict):
        await bench.store.put(KEY, pieces(b"other" + data), only_if_absent=True)

    stat = await bench.store.stat(KEY)
    assert stat is not None
    assert (stat.size_bytes, stat.metadata) == (size_bytes, {"name": "first"})
    assert await bench.unfinished() == []


async def test_of_two_puts_at_once_one_object_is_there_whole(bench: Bench) -> None:
    one, two = bytes_of(LARGE_BYTES, "one"), bytes_of(LARGE_BYTES + 1, "two")

    await asyncio.gather(bench.store.put(KEY, pieces(one)), bench.store.put(KEY, pieces(two)))

    assert await bench.read(KEY) in (one, two)
    assert await bench.unfinished() == []


async def test_of_many_conditional_puts_at_once_exactly_one_wins(bench: Bench) -> None:
    async def put(number: int) -> int | None:
        try:
            await bench.store.put(KEY, f"{number}".encode(), only_if_absent=True)
        except Conflict:
            return None
        return number

    winners = [number for number in await asyncio.gather(*map(put, range(8))) if number is not None]

    assert len(winners) == 1
    assert await bench.read(KEY) == f"{winners[0]}".encode()


async def test_an_object_above_the_limit_is_refused_and_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OBJECT_MAX_BYTES", 3 * limits.OBJECT_BATCH_BYTES)
    allowed = bytes_of(limits.OBJECT_MAX_BYTES)
    await bench.store.put("a/largest", pieces(allowed))

    with pytest.raises(TooLarge):
        await bench.store.put("a/larger", pieces(allowed + b"x"))

    assert await bench.keys() == {"a/largest"}
    assert await bench.unfinished() == []


# --- what goes wrong on the way ---


@pytest.mark.parametrize("good_bytes", [10, limits.OBJECT_BATCH_BYTES + 10, 2 * limits.S3_PART_BYTES])
async def test_a_source_that_fails_leaves_nothing_and_the_old_object(bench: Bench, good_bytes: int) -> None:
    async def failing() -> AsyncIterator[bytes]:
        async for piece in pieces(bytes_of(good_bytes)):
            yield piece
        raise ConnectionError("the sender is gone")

    await bench.store.put(KEY, b"old")

    with pytest.raises(ConnectionError, match="the sender is gone"):
        await bench.store.put(KEY, failing())
    with pytest.raises(ConnectionError):
        await bench.store.put("other/key", failing())

    assert await bench.read(KEY) == b"old"
    assert await bench.keys() == {KEY}
    assert await bench.unfinished() == []


@pytest.mark.parametrize("good_bytes", [10, limits.OBJECT_BATCH_BYTES + 10, 2 * limits.S3_PART_BYTES])
async def test_a_put_cancelled_in_the_middle_leaves_nothing(bench: Bench, good_bytes: int) -> None:
    waiting = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        async for piece in pieces(bytes_of(good_bytes)):
            yield piece
        waiting.set()
        await asyncio.Event().wait()

    put = asyncio.create_task(bench.store.put(KEY, stalling()))
    await asyncio.wait_for(waiting.wait(), timeout=30)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put

    assert await bench.keys() == set()
    assert await bench.unfinished() == []


async def test_a_put_cancelled_at_any_moment_leaves_all_or_nothing(bench: Bench) -> None:
    """The put is cancelled after a growing number of turns of the event loop, until one ends first."""
    data = bytes_of(limits.OBJECT_BATCH_BYTES + 1)
    for turns in (int(1.5**exponent) for exponent in range(40)):
        put = asyncio.create_task(bench.store.put(KEY, data))
        for _ in range(turns):
            await asyncio.sleep(0)
        put.cancel()
        try:
            await put
        except asyncio.CancelledError:
            if await bench.keys():
                assert await bench.read(KEY) == data
                await bench.store.delete(KEY)
        else:
            break
    assert await bench.unfinished() == []


# --- ranges ---

TEN = b"0123456789"


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (0, 0, b"0"),
        (0, None, TEN),
        (3, 5, b"345"),
        (9, 9, b"9"),
        (9, None, b"9"),
        (5, 10, b"56789"),
        (5, 10**12, b"56789"),
        (0, 9, TEN),
    ],
)
async def test_a_range_is_inclusive_and_cut_at_the_end(
    bench: Bench, first: int, last: int | None, expected: bytes
) -> None:
    await bench.store.put(KEY, TEN, metadata={"name": "ten"})

    download = await bench.store.get(KEY, first=first, last=last)

    assert b"".join([chunk async for chunk in download]) == expected
    assert (download.first, download.length_bytes) == (first, len(expected))
    assert (download.stat.size_bytes, download.stat.metadata) == (10, {"name": "ten"})


@pytest.mark.parametrize(("first", "last"), [(10, None), (10, 20), (11, None), (-1, None), (5, 4)])
async def test_a_range_behind_the_end_or_upside_down_is_refused(
    bench: Bench, first: int, last: int | None
) -> None:
    await bench.store.put(KEY, TEN)
    with pytest.raises(BadInput):
        await bench.store.get(KEY, first=first, last=last)


async def test_an_empty_object_has_an_empty_range_at_its_start(bench: Bench) -> None:
    await bench.store.put(KEY, b"")
    assert await bench.read(KEY, first=0, last=10) == b""
    with pytest.raises(BadInput):
        await bench.store.get(KEY, first=1)


async def test_ranges_across_chunks_are_exact(bench: Bench) -> None:
    data = bytes_of(3 * limits.OBJECT_BATCH_BYTES)
    await bench.store.put(KEY, data)
    for edge in (limits.CHUNK_BYTES, limits.OBJECT_BATCH_BYTES, len(data)):
        for first, last in ((edge - 1, edge), (edge - limits.CHUNK_BYTES, edge + 1), (1, edge - 1)):
            assert await bench.read(KEY, first=first, last=last) == data[first : last + 1]


# --- metadata ---


async def test_metadata_come_back_as_they_were(bench: Bench) -> None:
    metadata = {
        "name": " ä%41 \N{EN DASH} b\N{GRINNING FACE}.txt ",
        "empty": "",
        "a-1": "x=y; q",
        "plus": "a+b%",
    }
    assert (await bench.store.put(KEY, b"x", metadata=metadata)).metadata == metadata
    stat = await bench.store.stat(KEY)
    assert stat is not None
    assert stat.metadata == metadata
    assert (await bench.store.get(KEY)).stat.metadata == metadata


@pytest.mark.parametrize(
    "metadata",
    [{"Name": "x"}, {"": "x"}, {"a b": "x"}, {"ä": "x"}, {"a": "x\ny"}, {"a": "x\0"}, {"a": "x" * 2048}],
)
async def test_metadata_no_store_could_keep_are_refused(bench: Bench, metadata: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        await bench.store.put(KEY, b"x", metadata=metadata)
    assert await bench.keys() == set()


# --- absent objects ---


async def test_what_is_not_there_is_said_to_be_not_there(bench: Bench) -> None:
    store = bench.store
    await store.put("there/too", b"x")
    assert await store.stat(KEY) is None
    assert await store.delete(KEY) is False
    with pytest.raises(NotFound):
        await store.get(KEY)
    with pytest.raises(NotFound):
        await store.get(KEY, first=5, last=6)
    with pytest.raises(NotFound):
        await store.copy(KEY, "a/b")
    with pytest.raises((NotFound, FileNotFoundError)):
        async with store.file(KEY) as path:
            await asyncio.to_thread(path.read_bytes)
    assert await bench.keys() == {"there/too"}


async def test_deleting_removes_only_that_object_and_can_be_repeated(bench: Bench) -> None:
    other = KEY[:-1] + "0"
    await bench.store.put(KEY, b"x")
    await bench.store.put(other, b"y")

    assert await bench.store.delete(KEY) is True
    assert await bench.store.delete(KEY) is False

    assert await bench.keys() == {other}


async def test_what_is_not_old_enough_is_not_deleted(bench: Bench) -> None:
    put = await bench.store.put(KEY, b"x")
    found = await bench.store.stat(KEY)
    assert found is not None
    for time in (put.modified - dt.timedelta(days=1), found.modified):
        assert await bench.store.delete(KEY, older_than=time) is False
    assert await bench.read(KEY) == b"x"
    assert await bench.store.delete(KEY[:-1] + "0", older_than=put.modified) is False

    assert await bench.store.delete(KEY, older_than=found.modified + dt.timedelta(days=1)) is True

    assert await bench.keys() == set()


# --- keys ---

UNSAFE = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/..",
    "a/../b",
    "a/./b",
    "a\0b",
    "a/b\n",
    "a/\x7f",
    ".partial/a",
    "a/\udcff",
    "a/" + "x" * 256,
    "a/" + "ä" * 128,
    "/".join(["x" * 200] * 6),
]


@pytest.mark.parametrize("key", UNSAFE)
async def test_an_unsafe_key_is_refused_by_every_operation(bench: Bench, key: str) -> None:
    store = bench.store
    await store.put("good/key", b"x")
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.put(key, b"x"),
        lambda: store.get(key),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: store.copy("good/key", key),
        lambda: store.copy(key, "good/key"),
        lambda: store.file(key).__aenter__(),
    ]
    for call in calls:
        with pytest.raises(BadInput):
            await call()
    async with store.draft() as draft:
        await draft.write(b"x")
        with pytest.raises(BadInput):
            await draft.commit(key)
    assert await bench.keys() == {"good/key"}


@pytest.mark.parametrize("prefix", ["../", "a/../", "/", "a//b", ".partial/", "a\0/"])
async def test_an_unsafe_prefix_is_refused(bench: Bench, prefix: str) -> None:
    with pytest.raises(BadInput):
        await bench.keys(prefix)


@pytest.mark.parametrize(
    "name",
    [
        "ä ö",
        "100%",
        "%41",
        "a#b?c*d",
        "~x",
        'a"b',
        "a\\b",
        "[x]{y}|^`",
        "a+b&c=d",
        "...",
        "-",
        "x" * 255,
        "☃",
    ],
)
async def test_unusual_names_are_kept_as_they_are(bench: Bench, name: str) -> None:
    key = f"odd/{name}/{name}"
    await bench.store.put(key, b"x")
    assert await bench.keys() == {key}
    assert await bench.read(key) == b"x"
    stat = await bench.store.stat(key)
    assert stat is not None
    assert stat.key == key


# --- listing ---


async def test_listing_gives_every_key_that_starts_so_and_no_other(bench: Bench) -> None:
    hashes = [hashlib.sha256(bytes([number])).hexdigest() for number in range(6)]
    keys = {f"s/content/{sha256}" for sha256 in hashes} | {"s/contents/x", "s2/a/b", "top"}
    for key in keys:
        await bench.store.put(key, key.encode(), metadata={"name": "x"})

    for prefix in (
        "",
        "s",
        "s/",
        "s/content",
        "s/content/",
        f"s/content/{hashes[0][:1]}",
        "t",
        "top",
        "none/",
    ):
        assert await bench.keys(prefix) == {key for key in keys if key.startswith(prefix)}
    listed = [stat async for stat in bench.store.list("top")]
    assert [(stat.size_bytes, stat.metadata) for stat in listed] == [(3, {})]


async def test_listing_many_objects_loses_and_repeats_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OBJECT_LIST_BATCH", 7)
    keys = [f"many/{number % 3}/{number}" for number in range(40)]
    await asyncio.gather(*(bench.store.put(key, b"x") for key in keys))

    listed = [stat.key async for stat in bench.store.list("many/")]

    assert sorted(listed) == sorted(keys)


async def test_a_listing_may_be_left_early(bench: Bench) -> None:
    for number in range(3):
        await bench.store.put(f"a/{number}", b"x")
    async for stat in bench.store.list():
        assert stat.size_bytes == 1
        break


# --- copies, files, drafts ---


async def test_a_copy_has_bytes_and_metadata_and_leaves_its_source(bench: Bench) -> None:
    data = bytes_of(limits.OBJECT_BATCH_BYTES + 1)
    await bench.store.put(KEY, data, metadata={"name": "ä"})
    target = KEY.replace("source", "target")
    await bench.store.put(target, b"old")

    await bench.store.copy(KEY, target)
    await bench.store.copy(KEY, KEY)

    for key in (KEY, target):
        stat = await bench.store.stat(key)
        assert stat is not None
        assert stat.metadata == {"name": "ä"}
        assert await bench.read(key) == data
    assert await bench.unfinished() == []


async def test_a_copy_too_large_for_one_request_is_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "S3_COPY_MAX_BYTES", 1)
    monkeypatch.setattr(limits, "S3_COPY_PART_BYTES", 5 * limits.MIB)
    data = bytes_of(11 * limits.MIB)
    await bench.store.put(KEY, data, metadata={"name": "ä"})

    await bench.store.copy(KEY, "target/large")

    stat = await bench.store.stat("target/large")
    assert stat is not None
    assert stat.metadata == {"name": "ä"}
    assert await bench.read("target/large") == data
    assert await bench.unfinished() == []


@pytest.mark.parametrize("size_bytes", [0, 1, limits.OBJECT_BATCH_BYTES + 1])
async def test_an_object_as_a_file_has_its_bytes_and_leaves_no_copy(bench: Bench, size_bytes: int) -> None:
    data = bytes_of(size_bytes)
    await bench.store.put(KEY, data)
    for content in (None, data):
        async with bench.store.file(KEY, content=content) as path:
            assert await asyncio.to_thread(path.read_bytes) == data
    assert await bench.unfinished() == []
    assert await bench.read(KEY) == data


@pytest.mark.parametrize("size_bytes", [0, 1, LARGE_BYTES])
async def test_a_draft_is_nothing_until_it_is_committed(bench: Bench, size_bytes: int) -> None:
    data = bytes_of(size_bytes)
    async with bench.store.draft() as draft:
        async for piece in pieces(data):
            await draft.write(piece)
        assert await bench.keys() == set()
        stat = await draft.commit(KEY, metadata={"name": "draft"})
        assert await asyncio.to_thread((await draft.local()).read_bytes) == data
    assert (stat.key, stat.size_bytes, stat.metadata) == (KEY, size_bytes, {"name": "draft"})
    assert await bench.read(KEY) == data
    assert await bench.unfinished() == []


async def test_a_draft_that_is_left_leaves_nothing(bench: Bench) -> None:
    async with bench.store.draft() as draft:
        await draft.write(bytes_of(LARGE_BYTES))
    with suppress(ConnectionError):
        async with bench.store.draft() as draft:
            await draft.write(b"x")
            raise ConnectionError
    assert await bench.keys() == set()
    assert await bench.unfinished() == []


async def test_a_draft_never_overwrites_when_asked_not_to(bench: Bench) -> None:
    await bench.store.put(KEY, b"old")
    async with bench.store.draft() as draft:
        await draft.write(b"new")
        with pytest.raises(Conflict):
            await draft.commit(KEY, only_if_absent=True)
    assert await bench.read(KEY) == b"old"
    assert await bench.unfinished() == []


# --- content addressing ---


def _content(digest: Digest) -> str:
    return stream_key("source", "content", digest.sha256)


@pytest.mark.parametrize(
    "size_bytes", [0, 1, limits.HASH_INLINE_BYTES + 1, limits.OBJECT_BATCH_BYTES, LARGE_BYTES]
)
@pytest.mark.parametrize("kind", ["bytes", "file", "stream"])
async def test_content_lies_under_its_own_hash(
    bench: Bench, tmp_path: Path, kind: str, size_bytes: int
) -> None:
    data = bytes_of(size_bytes)
    path = tmp_path / "source"
    await asyncio.to_thread(path.write_bytes, data)
    sources: dict[str, Source] = {"bytes": data, "file": path, "stream": pieces(data)}

    digest, stat = await store_stream(bench.store, sources[kind], _content, metadata={"name": "x"})

    for name in ("md5", "sha1", "sha256", "sha512"):
        assert getattr(digest, name) == hashlib.new(name, data).hexdigest()
    assert digest.size_bytes == stat.size_bytes == size_bytes
    assert stat.key == f"source/content/{digest.sha256}"
    assert await bench.read(stat.key) == data
    assert await bench.unfinished() == []


@pytest.mark.parametrize("size_bytes", [1, LARGE_BYTES])
async def test_content_that_is_refused_is_not_stored(bench: Bench, size_bytes: int) -> None:
    def refuse(digest: Digest) -> str:
        raise BadInput("check an upload", f"{digest.sha256} is not what was announced")

    with pytest.raises(BadInput):
        await store_stream(bench.store, pieces(bytes_of(size_bytes)), refuse)

    assert await bench.keys() == set()
    assert await bench.unfinished() == []

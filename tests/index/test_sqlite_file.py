"""The SQLite index as a file: killed, locked, full, damaged, made by other code, read while written."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import limits
from pipeline.errors import Damaged, Unavailable
from pipeline.index.port import Document
from pipeline.index.query import And, Group, Prefix, Query, Term, Text
from pipeline.index.sqlite import SqliteIndex
from tests.index.support import all_ids, an_index, document

BATCH = 20
WRITER = """
import asyncio, sys
from pathlib import Path
from pipeline.index.sqlite import SqliteIndex
from tests.index.test_sqlite_file import batch

async def main() -> None:
    index = SqliteIndex(Path(sys.argv[1]))
    await index.open()
    number = int(sys.argv[2])
    while True:
        assert await index.put(batch(number)) == []
        print(number, flush=True)
        number += 1

asyncio.run(main())
"""
FULL = """
import asyncio, resource, sys
from pathlib import Path
from pipeline.errors import Unavailable
from pipeline.index.query import Query
from pipeline.index.sqlite import SqliteIndex
from tests.index.test_sqlite_file import batch

async def main() -> None:
    index = SqliteIndex(Path(sys.argv[1]))
    await index.open()
    assert await index.put(batch(0)) == []
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    number = 1
    try:
        while True:
            await index.put(batch(number))
            number += 1
    except Unavailable as error:
        print(type(error).__name__)
    held = (await index.search("binary2", Query())).total
    assert held == number * len(batch(0)), (held, number)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert await index.put(batch(number)) == []
    assert (await index.search("binary2", Query())).total == held + len(batch(0))
    await index.close()
    print("goes on")

asyncio.run(main())
"""


def batch(number: int) -> list[Document]:
    """Make the documents of one put: half of them new, half replacing those of the put before."""
    old = [f"{number - 1}-{at}" for at in range(BATCH // 2)] if number else []
    new = [f"{number}-{at}" for at in range(BATCH)]
    return [document(name, number + 1, depth=number, magic=f"put{number} {name}") for name in old + new]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls wait a moment only."""
    monkeypatch.setattr(limits, "INDEX_CALL_TIMEOUT_SECONDS", 0.4)


def test_a_kill_at_any_moment_loses_no_acknowledged_batch_and_leaves_no_half_one(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    following = 0
    for rounds in range(8):
        command = [sys.executable, "-c", WRITER, str(path), str(following)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(2 + rounds):
                following = int(writer.stdout.readline()) + 1
            time.sleep(
                0.0008 * rounds
            )  # not to wait for anything: to meet a put at another moment each time
            writer.send_signal(signal.SIGKILL)
            acknowledged = [int(line) for line in writer.stdout]  # printed before the kill arrived
        following = max([following - 1, *acknowledged]) + 1
        following = asyncio.run(_check_whole(path, following))


async def _check_whole(path: Path, acknowledged: int) -> int:
    """Check that the first batches are there, that everything agrees; return how many there are."""
    index = SqliteIndex(path)
    await index.open()
    try:
        total = (await index.search("binary2", Query())).total
        batches = total // BATCH
        assert total == batches * BATCH
        assert acknowledged <= batches <= acknowledged + 1
        found = await all_ids(index, "binary2", Query(Prefix("magic", "put"), limit=limits.SEARCH_PAGE_MAX))
        assert len(found) == total
        for number in range(batches):
            wanted = {each.id for each in batch(number)[-BATCH:]}
            if number + 1 < batches:
                wanted -= {each.id for each in batch(number + 1)}
            if number:
                wanted |= {f"{number - 1}-{at}" for at in range(BATCH // 2)}
            for where in (Term("depth", (number,)), Text(f"put{number}")):
                assert set(await all_ids(index, "binary2", Query(where, limit=100))) == wanted
        return batches
    finally:
        await index.close()


def test_a_full_disk_is_an_error_that_passes_and_costs_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "index.sqlite")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split("\n")[1:2] == ["goes on"], done.stderr
    assert done.stdout.split()[0] in ("StorageFull", "Unavailable")


async def test_a_folder_that_cannot_be_made_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    index = SqliteIndex(tmp_path / "data" / "index.sqlite")
    with pytest.raises(Unavailable):
        await index.open()
    with pytest.raises(Unavailable):
        await index.put([document("x")])
    (tmp_path / "data").unlink()
    await index.open()
    try:
        assert await index.put([document("x")]) == []
        assert (await index.search("binary2", Query())).total == 1
    finally:
        await index.close()


async def test_a_file_that_is_no_index_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    path.write_bytes(b"somebody's letters " * 1000)
    index = SqliteIndex(path)
    with pytest.raises(Damaged, match="index the events again"):
        await index.open()
    await index.close()
    assert path.read_bytes() == b"somebody's letters " * 1000


@pytest.mark.usefixtures("impatient")
async def test_a_lock_held_by_another_is_waited_for_then_an_error_that_passes(tmp_path: Path) -> None:
    async with an_index("sqlite", tmp_path) as index:
        assert await index.put([document("x")]) == []
        other = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable):
                await index.put([document("y")])
            assert (await index.search("binary2", Query())).total == 1
            other.execute("ROLLBACK")
        finally:
            other.close()
        assert await index.put([document("y")]) == []
        assert (await index.search("binary2", Query())).total == 2


async def test_search_tables_of_other_code_are_made_anew_from_the_documents(tmp_path: Path) -> None:
    documents = [document(f"{at:03}", depth=at, magic=f"word{at} common") for at in range(700)]
    async with an_index("sqlite", tmp_path) as index:
        assert await index.put(documents) == []
    file = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    file.execute("DELETE FROM terms WHERE doc % 2")
    file.execute("INSERT INTO words (words) VALUES ('delete-all')")
    file.execute("UPDATE about SET value = 'another' WHERE name = 'fingerprint'")
    file.close()
    async with an_index("sqlite", tmp_path) as index:
        assert await all_ids(index, "binary2", Query(Term("depth", (699,)))) == ["699"]
        assert (await index.search("binary2", Query(Text("common")))).total == 700
        assert await index.put([document("000", 2, magic="changed")]) == []
        assert await all_ids(index, "binary2", Query(Text("word0"))) == []


async def test_readers_never_see_a_part_of_a_batch_and_never_wait(tmp_path: Path) -> None:
    async with an_index("sqlite", tmp_path) as index:
        writing = asyncio.create_task(_write_all(index, 30))
        seen = []
        while not writing.done():
            page = await index.search("binary2", Query(limit=1))
            seen.append(page.total)
            assert dict(await index.group("binary2", Group("depth", limit=100))).keys() <= {
                f"{number}" for number in range(31)
            }
        await writing
        assert all(total % BATCH == 0 for total in seen)
        assert seen == sorted(seen)


async def _write_all(index: object, count: int) -> None:
    assert isinstance(index, SqliteIndex)
    for number in range(count):
        assert await index.put(batch(number)) == []


async def test_searches_that_are_given_up_leave_the_index_usable(tmp_path: Path) -> None:
    documents = [document(f"{at:04}", depth=at % 50, magic="x" * (at % 9 + 1)) for at in range(1000)]
    async with an_index("sqlite", tmp_path) as index:
        assert await index.put(documents) == []
        searches = [
            asyncio.create_task(index.search("binary2", Query(_heavy(), limit=1)))
            for _ in range(2 * limits.INDEX_READERS)
        ]
        await asyncio.sleep(0)
        for search in searches:
            search.cancel()
        results = await asyncio.gather(*searches, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert (await index.search("binary2", Query())).total == 1000


def _heavy() -> And:
    return And(tuple(Prefix("magic", "x" * (at % 5)) for at in range(limits.QUERY_PARTS_MAX - 1)))


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = {thread.name for thread in threading.enumerate()}
    yield
    left = {thread.name for thread in threading.enumerate()} - before
    assert not {name for name in left if name.startswith("index-")}


def test_the_file_survives_a_reader_in_another_process(tmp_path: Path) -> None:
    """What `headrace search` does while `headrace up` writes."""
    path = tmp_path / "index.sqlite"

    async def write(number: int) -> None:
        index = SqliteIndex(path)
        await index.open()
        assert await index.put(batch(number)) == []
        await index.close()

    asyncio.run(write(0))
    script = (
        "import asyncio, sys; from pathlib import Path; from pipeline.index.sqlite import SqliteIndex;"
        "from pipeline.index.query import Query\n"
        "async def main():\n"
        " index = SqliteIndex(Path(sys.argv[1])); await index.open()\n"
        " print((await index.search('binary2', Query())).total, flush=True); sys.stdin.readline()\n"
        " print((await index.search('binary2', Query())).total, flush=True); await index.close()\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert int(reader.stdout.readline()) == BATCH
        asyncio.run(write(1))
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert int(reader.stdout.readline()) == 2 * BATCH

"""Files that hang, fill or break their parser process, and processes killed from outside.

Each costs one process and nothing else: the file's result says what happened and has its hashes, the files
beside it are answered as if nothing had been. All by real means: signals, a rule that never ends, a memory
limit that is reached.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from pipeline import limits
from pipeline.clock import ManualClock, SystemClock
from pipeline.errors import ParserTimeout, Unavailable
from pipeline.identify.pool import ParserPool
from pipeline.identify.result import Identified
from tests.identify.support import SLOW_MARK, SLOW_RULE, alive, stream, until

ALWAYS = "rule always { condition: true }"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Give a rules folder with a rule that hits everything and one that never ends on some files."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "always.yar").write_text(ALWAYS)
    (folder / "slow.yar").write_text(SLOW_RULE)
    return folder


def write(folder: Path, name: str, data: bytes) -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(data)
    return path


def assert_only_hashed(found: Identified, data: bytes, problem: str) -> None:
    """Check a result with a problem: its hashes are right and nothing else is claimed."""
    assert found.problem is not None
    assert found.problem.kind == problem
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.md5 == hashlib.md5(data).hexdigest()  # noqa: S324
    assert found.size_bytes == len(data)
    assert found.mime == found.magic == found.file_format == ""
    assert found.scan.hits == ()


def assert_whole(found: Identified, data: bytes) -> None:
    """Check a result that nothing was in the way of."""
    assert found.problem is None
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.mime
    assert [hit.rule for hit in found.scan.hits] == ["always"]


def only_process(pool: ParserPool) -> int:
    """Return the id of the single parser process."""
    (process,) = pool.process_ids
    return process


async def test_a_process_that_hangs_is_replaced_and_the_files_behind_are_unaffected(
    rules: Path, tmp_path: Path
) -> None:
    data = [stream(5000) + bytes([n]) for n in range(4)]
    paths = [write(tmp_path, str(n), content) for n, content in enumerate(data)]
    async with ParserPool(processes=1, rules_folder=rules, timeout_seconds=1) as pool:
        await pool.reload_rules()
        hung = only_process(pool)
        os.kill(hung, signal.SIGSTOP)
        found = await asyncio.gather(*(pool.identify(path) for path in paths))
        assert_only_hashed(found[0], data[0], "ParserTimeout")
        for one, content in zip(found[1:], data[1:], strict=True):
            assert_whole(one, content)
        assert not alive(hung)
        assert pool.statistics().deaths == 1


async def test_the_time_limit_is_the_clocks_and_counts_only_the_file_in_work(
    rules: Path, tmp_path: Path
) -> None:
    """Nothing is ended one second before the limit, the first file is one second after it."""
    clock = ManualClock(SystemClock().now())
    data = [b"one" * 100, b"two" * 100]
    paths = [write(tmp_path, str(n), content) for n, content in enumerate(data)]
    async with ParserPool(processes=1, rules_folder=rules, clock=clock, timeout_seconds=60) as pool:
        await pool.reload_rules()
        os.kill(only_process(pool), signal.SIGSTOP)
        asked = [asyncio.create_task(pool.identify(path)) for path in paths]
        await until(lambda: pool.statistics().in_work == 2)
        clock.advance(59)
        await settle()
        assert pool.statistics().deaths == 0
        clock.advance(2)
        await until(lambda: pool.statistics().deaths == 1)
        found = await asyncio.gather(*asked)
    assert_only_hashed(found[0], data[0], "ParserTimeout")
    assert_whole(found[1], data[1])


async def test_the_time_one_file_took_is_never_counted_against_the_next(
    rules: Path, tmp_path: Path
) -> None:
    clock = ManualClock(SystemClock().now())
    quick, slow = b"words\n", SLOW_MARK + stream(20_000)
    paths = [write(tmp_path, "quick", quick), write(tmp_path, "slow", slow)]
    async with ParserPool(processes=1, rules_folder=rules, clock=clock, timeout_seconds=60) as pool:
        await pool.reload_rules()
        process = only_process(pool)
        os.kill(process, signal.SIGSTOP)
        asked = [asyncio.create_task(pool.identify(path)) for path in paths]
        await until(lambda: pool.statistics().in_work == 2)
        clock.advance(40)
        os.kill(process, signal.SIGCONT)
        assert_whole(await asked[0], quick)
        clock.advance(40)
        await settle()
        assert pool.statistics().deaths == 0
        clock.advance(21)
        assert_only_hashed(await asked[1], slow, "ParserTimeout")


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_rule_that_never_ends_costs_its_hits_and_not_the_process(
    rules: Path, tmp_path: Path
) -> None:
    data = SLOW_MARK + stream(20_000)
    async with ParserPool(processes=1, rules_folder=rules, timeout_seconds=4) as pool:
        found = await pool.identify(write(tmp_path, "slow", data))
        assert found.problem is None
        assert found.mime
        assert found.sha256 == hashlib.sha256(data).hexdigest()
        assert "longer than" in found.scan.problem
        assert pool.statistics().deaths == 0


async def test_a_scan_that_cannot_be_stopped_from_inside_is_ended_from_outside(
    rules: Path, tmp_path: Path
) -> None:
    """The rules' own limit is a whole second, the file's is shorter."""
    data = SLOW_MARK + stream(20_000)
    good = write(tmp_path, "good", b"words\n")
    async with ParserPool(processes=1, rules_folder=rules, timeout_seconds=0.5) as pool:
        slow = asyncio.create_task(pool.identify(write(tmp_path, "slow", data)))
        found = await asyncio.gather(*(pool.identify(good) for _ in range(5)))
        assert_only_hashed(await slow, data, "ParserTimeout")
        for one in found:
            assert_whole(one, b"words\n")


async def test_a_file_that_needs_more_memory_than_allowed_is_marked(rules: Path, tmp_path: Path) -> None:
    """The rules would see 48 MiB of it; the process may grow by 24."""
    data = bytes(48 * limits.MIB)
    good = write(tmp_path, "good", b"words\n")
    pool = ParserPool(processes=1, rules_folder=rules, memory_bytes=24 * limits.MIB)
    async with pool:
        large = asyncio.create_task(pool.identify(write(tmp_path, "large", data)))
        found = await asyncio.gather(*(pool.identify(good) for _ in range(5)))
        marked = await large
        assert_only_hashed(marked, data, "ParserMemory")
        assert marked.problem is not None
        assert "24 MiB" in marked.problem.text
        for one in found:
            assert_whole(one, b"words\n")
        assert pool.statistics().deaths == 1


async def _killed_while_it_works(pool: ParserPool, path: Path, times: int) -> Identified:
    """Identify a slow file while its process is killed so many times."""
    await pool.reload_rules()
    asked = asyncio.create_task(pool.identify(path))
    for _ in range(times):
        await until(lambda: pool.statistics().in_work == 1)
        deaths = pool.statistics().deaths
        os.kill(only_process(pool), signal.SIGKILL)
        await until(lambda deaths=deaths: pool.statistics().deaths == deaths + 1)  # type: ignore[misc]
    return await asked


async def test_a_file_whose_process_crashes_twice_is_marked(rules: Path, tmp_path: Path) -> None:
    data = SLOW_MARK + stream(20_000)
    async with ParserPool(processes=1, rules_folder=rules, timeout_seconds=20) as pool:
        found = await _killed_while_it_works(pool, write(tmp_path, "slow", data), 2)
        assert_only_hashed(found, data, "ParserCrash")
        assert found.problem is not None
        assert "SIGKILL" in found.problem.text


async def test_a_file_is_never_blamed_for_one_kill_from_outside(rules: Path, tmp_path: Path) -> None:
    data = SLOW_MARK + stream(20_000)
    async with ParserPool(processes=1, rules_folder=rules, timeout_seconds=3) as pool:
        found = await _killed_while_it_works(pool, write(tmp_path, "slow", data), 1)
        assert found.problem is None
        assert found.mime
        assert "longer than" in found.scan.problem


async def test_a_file_that_cannot_even_be_hashed_still_gets_a_result(rules: Path, tmp_path: Path) -> None:
    """The process may grow by so little that reading the file is too much already."""
    large = write(tmp_path, "large", stream(limits.WHOLE_READ_BYTES))
    async with ParserPool(processes=1, rules_folder=rules, memory_bytes=limits.MIB) as pool:
        found = await pool.identify(large)
        assert found.problem is not None
        assert found.problem.kind == "ParserMemory"
        assert found.sha256 == ""
        assert pool.statistics().deaths >= 2
        assert_whole(await pool.identify(write(tmp_path, "small", b"words\n")), b"words\n")


async def test_random_kills_lose_no_file_and_mix_up_no_answer(rules: Path, tmp_path: Path) -> None:
    data = [stream(30_000) + n.to_bytes(4, "big") for n in range(200)]
    paths = [write(tmp_path, str(n), content) for n, content in enumerate(data)]
    chance = random.Random(20)  # noqa: S311
    async with ParserPool(processes=2, rules_folder=rules) as pool:
        await pool.reload_rules()
        window = asyncio.Semaphore(pool.window)
        answered = 0

        async def identify(path: Path) -> Identified:
            nonlocal answered
            async with window:
                found = await pool.identify(path)
            answered += 1
            return found

        everything = asyncio.gather(*(identify(path) for path in paths))
        for kill in range(1, 7):
            # Files a process was killed on come first, so they are through by then and none is hit twice.
            await until(lambda kill=kill: answered >= 20 * kill)  # type: ignore[misc]
            deaths = pool.statistics().deaths
            os.kill(chance.choice(pool.process_ids), signal.SIGKILL)
            await until(lambda deaths=deaths: pool.statistics().deaths > deaths)  # type: ignore[misc]
        found = await everything
        assert pool.statistics().deaths == 6
    assert all(one.problem is None for one in found)
    assert [one.sha256 for one in found] == [hashlib.sha256(content).hexdigest() for content in data]


async def test_blocks_that_break_the_parser_are_an_error_and_the_next_ones_are_told(rules: Path) -> None:
    async with ParserPool(processes=1, rules_folder=rules, timeout_seconds=0.5) as pool:
        await pool.reload_rules()
        os.kill(only_process(pool), signal.SIGSTOP)
        with pytest.raises(ParserTimeout):
            await pool.media_types([b"words\n"])
        assert await pool.media_types([b"words\n"]) == ["text/plain"]


async def test_processes_that_cannot_be_started_are_an_error_until_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PARSER_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(limits, "PARSER_PAUSE_MAX_SECONDS", 0.05)
    path = write(tmp_path, "file", b"words\n")
    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with ParserPool(processes=1, rules_folder=tmp_path) as pool:
        with pytest.raises(Unavailable, match="exit code 1"):
            await pool.identify(path)
        monkeypatch.setattr(sys, "executable", "/no/such/program")
        with pytest.raises(Unavailable, match="start a parser process"):
            await pool.identify(path)
        monkeypatch.setattr(sys, "executable", python)
        await pool.reload_rules()
        assert (await pool.identify(path)).mime == "text/plain"


async def test_a_broken_start_after_new_rules_leaves_the_old_process_at_work(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PARSER_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(limits, "PARSER_PAUSE_MAX_SECONDS", 0.05)
    path = write(tmp_path, "file", b"words\n")
    python = sys.executable
    async with ParserPool(processes=1, rules_folder=rules) as pool:
        await pool.reload_rules()
        old = (await pool.identify(path)).scan.rules_version
        (rules / "more.yar").write_text("rule more { condition: true }")
        monkeypatch.setattr(sys, "executable", "/bin/false")
        reloaded = asyncio.create_task(pool.reload_rules())
        for _ in range(20):
            assert (await pool.identify(path)).scan.rules_version == old
        monkeypatch.setattr(sys, "executable", python)
        report = await reloaded
        found = await pool.identify(path)
        assert found.scan.rules_version == report.version != old
        assert {hit.rule for hit in found.scan.hits} == {"always", "more"}

"""The parser pool at work: answers to the right callers, rules changed under way, nothing left behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline import limits
from pipeline.clock import SystemClock
from pipeline.errors import BadInput, NotFound, Unavailable
from pipeline.identify.datastream import datastream
from pipeline.identify.pool import ParserPool, parser_pool
from pipeline.settings import load
from tests.identify.samples import SAMPLES
from tests.identify.support import alive, repeating_text, stream, until


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[ParserPool]:
    (tmp_path / "rules").mkdir()
    async with ParserPool(processes=2, rules_folder=tmp_path / "rules") as pool:
        yield pool


def write(folder: Path, name: str, data: bytes) -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(data)
    return path


def command_lines_of_children() -> list[bytes]:
    """Return the command lines of the processes this one started and that live."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [Path(f"/proc/{child}/cmdline").read_bytes() for child in children if alive(int(child))]


def rule(name: str, mark: str) -> str:
    """Return a rule that finds a mark."""
    return f'rule {name} {{ strings: $m = "{mark}" condition: $m }}'


async def test_everything_is_said_about_a_file(pool: ParserPool, tmp_path: Path) -> None:
    found = await pool.identify(write(tmp_path, "text", repeating_text()))
    assert found.sha256 == hashlib.sha256(repeating_text()).hexdigest()
    assert found.md5 == hashlib.md5(repeating_text()).hexdigest()  # noqa: S324
    assert found.size_bytes == len(repeating_text())
    assert (found.mime, found.magic) == ("text/plain", "ASCII text")
    assert (found.file_format, found.file_extension) == ("text/plain", "txt")
    assert found.ssdeep
    assert found.tlsh.startswith("T1")
    assert 3 < found.entropy < 5
    assert found.problem is None
    assert not found.notes


async def test_each_caller_gets_the_answer_about_its_own_file(pool: ParserPool, tmp_path: Path) -> None:
    contents = [data + str(n).encode() for n, (_, _, data) in enumerate(list(SAMPLES.values()) * 3)]
    paths = [write(tmp_path, str(number), data) for number, data in enumerate(contents)]
    found = await asyncio.gather(*(pool.identify(path) for path in paths))
    assert [one.sha256 for one in found] == [hashlib.sha256(data).hexdigest() for data in contents]
    assert pool.statistics().in_work == pool.statistics().waiting == 0


async def test_what_cannot_be_opened_is_an_error_and_harms_no_other(
    pool: ParserPool, tmp_path: Path
) -> None:
    good = write(tmp_path, "good", b"words\n")
    os.mkfifo(tmp_path / "pipe")
    asked = [tmp_path / "missing", good, tmp_path, good, tmp_path / "pipe", good]
    answers = await asyncio.gather(*(pool.identify(path) for path in asked), return_exceptions=True)
    assert [type(answer) for answer in answers[::2]] == [NotFound, BadInput, BadInput]
    assert all(getattr(answer, "mime", "") == "text/plain" for answer in answers[1::2])
    assert pool.statistics().deaths == 0


async def test_a_name_that_is_no_utf8_is_a_name(pool: ParserPool, tmp_path: Path) -> None:
    path = write(tmp_path, os.fsdecode(b"\xff\xfe name"), b"words\n")
    assert (await pool.identify(path)).mime == "text/plain"


async def test_the_empty_file(pool: ParserPool, tmp_path: Path) -> None:
    found = await pool.identify(write(tmp_path, "empty", b""))
    assert (found.mime, found.magic, found.file_format, found.size_bytes) == (
        "inode/x-empty",
        "empty",
        "unknown",
        0,
    )
    assert found.sha256 == hashlib.sha256(b"").hexdigest()


async def test_a_large_file_never_needs_memory_for_itself(tmp_path: Path) -> None:
    """96 MiB pass through a process that may grow by 24 MiB; the scan of the rules is cut to 1 MiB."""
    (tmp_path / "rules").mkdir()
    write(tmp_path / "rules", "a.yar", rule("at_start", "needle").encode())
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(b"needle")
        file.truncate(96 * limits.MIB)
    pool = ParserPool(
        processes=1,
        rules_folder=tmp_path / "rules",
        memory_bytes=24 * limits.MIB,
        yara_scan_max_bytes=limits.MIB,
    )
    async with pool:
        found = await pool.identify(path)
    assert found.problem is None
    assert found.size_bytes == 96 * limits.MIB
    assert [hit.rule for hit in found.scan.hits] == ["at_start"]
    assert (found.scan.scanned_bytes, found.scan.truncated) == (limits.MIB, True)


async def test_new_rules_are_used_without_a_restart_and_named_in_the_result(
    pool: ParserPool, tmp_path: Path
) -> None:
    path = write(tmp_path, "file", b"first second")
    assert (await pool.identify(path)).scan.rules_version == ""
    versions = []
    for name in ("first", "second"):
        write(tmp_path / "rules", f"{name}.yar", rule(name, name).encode())
        report = await pool.reload_rules()
        found = await pool.identify(path)
        assert found.scan.rules_version == report.version
        assert name in {hit.rule for hit in found.scan.hits}
        versions.append(report.version)
    assert len(set(versions)) == 2
    assert pool.statistics().deaths == 0


async def test_files_under_way_while_the_rules_change_are_all_answered(
    pool: ParserPool, tmp_path: Path
) -> None:
    paths = [write(tmp_path, str(number), stream(20_000) + bytes([number])) for number in range(60)]
    answers = asyncio.gather(*(pool.identify(path) for path in paths))
    await until(lambda: pool.statistics().in_work > 0)
    write(tmp_path / "rules", "a.yar", b"rule always { condition: true }")
    await pool.reload_rules()
    found = await answers
    assert len({one.sha256 for one in found}) == 60
    for one in found:
        assert bool(one.scan.hits) == bool(one.scan.rules_version)
    assert [hit.rule for hit in (await pool.identify(paths[0])).scan.hits] == ["always"]
    await until(lambda: len(pool.process_ids) == 2)


async def test_a_bad_rule_file_is_reported_and_the_good_ones_work(pool: ParserPool, tmp_path: Path) -> None:
    write(tmp_path / "rules", "good.yar", rule("good", "words").encode())
    write(tmp_path / "rules", "bad.yar", b"rule bad {\n condition: nothing_of_that_name }")
    report = await pool.reload_rules()
    assert [(one.file, one.line) for one in report.quarantined] == [("bad.yar", 2)]
    assert pool.statistics().rules == report
    found = await pool.identify(write(tmp_path, "file", b"words"))
    assert [hit.rule for hit in found.scan.hits] == ["good"]


async def test_the_largest_result_there_can_be_still_arrives(pool: ParserPool, tmp_path: Path) -> None:
    value = "\U0001f600" * 300
    meta = " ".join(f'{"k" * 100}{n} = "{value}"' for n in range(limits.YARA_META))
    tags = " ".join(f"{'t' * 100}{n}" for n in range(limits.YARA_TAGS))
    body = f"{tags} {{ meta: {meta} condition: true }}"
    rules = [f"rule {'r' * 100}{n} : {body}" for n in range(limits.YARA_HITS + 1)]
    write(tmp_path / "rules", "large.yar", "\n".join(rules).encode())
    await pool.reload_rules()
    found = await pool.identify(write(tmp_path, "file", b"words\n"))
    assert (len(found.scan.hits), found.scan.hits_left_out) == (limits.YARA_HITS, 1)
    assert pool.statistics().deaths == 0


async def test_a_change_of_the_folder_is_noticed_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RULES_CHECK_SECONDS", 0.05)
    (tmp_path / "rules").mkdir()
    async with ParserPool(processes=1, rules_folder=tmp_path / "rules") as pool:
        await pool.reload_rules()
        write(tmp_path / "rules", "a.yar", b"rule always { condition: true }")
        await until(lambda: pool.statistics().rules.rules == 1)


async def test_processes_are_replaced_after_their_time_without_losing_a_file(
    pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PARSER_ITEMS", 10)
    path = write(tmp_path, "file", b"words\n")
    await pool.reload_rules()
    before = set(pool.process_ids)
    found = await asyncio.gather(*(pool.identify(path) for _ in range(100)))
    assert all(one.mime == "text/plain" for one in found)
    await until(lambda: not before & set(pool.process_ids) and pool.statistics().processes == 2)
    assert pool.statistics().deaths == 0


async def test_media_types_of_blocks(pool: ParserPool) -> None:
    blocks = [b"", b"words\n", b"%PDF-1.5\n%abc", b'{"a": 1}\n'] * 100
    expected = ["application/x-empty", "text/plain", "application/pdf", "application/json"] * 100
    assert await pool.media_types(blocks) == expected
    assert await pool.media_types([]) == []
    many = [stream(4096)] * 600
    assert len(await pool.media_types(many)) == 600


async def test_closing_leaves_no_process_and_answers_everybody(tmp_path: Path) -> None:
    pool = ParserPool(processes=2, rules_folder=tmp_path)
    await pool.open()
    await pool.reload_rules()
    processes = pool.process_ids
    paths = [write(tmp_path, str(number), stream(100_000)) for number in range(30)]
    asked = [asyncio.create_task(pool.identify(path)) for path in paths]
    await until(lambda: pool.statistics().in_work > 0)
    await pool.close()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers if isinstance(answer, Exception)} == {Unavailable}
    assert not any(alive(process) for process in processes)
    assert pool.process_ids == []
    with pytest.raises(Unavailable):
        await pool.identify(paths[0])
    await pool.close()


async def test_closing_while_the_processes_still_start_leaves_none(tmp_path: Path) -> None:
    pool = ParserPool(processes=2, rules_folder=tmp_path)
    await pool.open()
    await asyncio.sleep(0)
    await pool.close()
    assert not any(b"identify.worker" in line for line in command_lines_of_children())


async def test_a_caller_that_leaves_disturbs_nobody(pool: ParserPool, tmp_path: Path) -> None:
    paths = [write(tmp_path, str(number), stream(50_000) + bytes([number])) for number in range(40)]
    asked = [asyncio.create_task(pool.identify(path)) for path in paths]
    await until(lambda: pool.statistics().in_work > 0)
    for task in asked[::2]:
        task.cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    found = [answer for answer in answers[1::2] if not isinstance(answer, BaseException)]
    assert len({one.sha256 for one in found}) == 20


def test_parser_processes_never_outlive_a_service_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio\n"
        "from pathlib import Path\n"
        "from pipeline.identify.pool import ParserPool\n"
        "async def main():\n"
        f"    async with ParserPool(processes=2, rules_folder=Path({str(tmp_path)!r})) as pool:\n"
        "        await pool.reload_rules()\n"
        "        print(*pool.process_ids, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        processes = [int(pid) for pid in service.stdout.readline().split()]
        assert len(processes) == 2
        # One that hangs does not read the end of its socket either.
        os.kill(processes[0], signal.SIGSTOP)
        service.send_signal(signal.SIGKILL)
        service.wait()
    asyncio.run(until(lambda: not any(alive(process) for process in processes)))


async def test_the_settings_make_the_pool(tmp_path: Path) -> None:
    (tmp_path / "data" / "rules").mkdir(parents=True)
    write(tmp_path / "data" / "rules", "own.yar", b"rule own { condition: true }")
    wanted = {"data": str(tmp_path / "data"), "parser": {"processes": 1}}
    settings = load(wanted, environment={}).settings
    async with parser_pool(settings, SystemClock()) as pool:
        found = await pool.identify(write(tmp_path, "file", b"words\n"))
        assert [hit.rule for hit in found.scan.hits] == ["own"]
        assert pool.window >= pool.statistics().processes == 1


async def test_a_stream_is_described_as_the_contract_wants(pool: ParserPool, tmp_path: Path) -> None:
    found = await pool.identify(write(tmp_path, "text", b"Some words\n"))
    stream_of_it = datastream(found)
    assert stream_of_it.identify_version == 2
    assert (stream_of_it.label, stream_of_it.size) == ("content", 11)
    assert stream_of_it.sha256 == found.sha256
    assert (stream_of_it.file_format, stream_of_it.file_extension) == ("text/plain", "txt")
    assert (stream_of_it.ssdeep, stream_of_it.tlsh) == ("", "")

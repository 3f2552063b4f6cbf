"""headrace scan: one answer a file, the same twice, and exit codes that say how it went."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import PROGRAM, Command, Result
from tests.processes import environment
from tests.realfiles import real_files

FILES = 60
HASHES = {"md5": "md5sum", "sha1": "sha1sum", "sha256": "sha256sum", "sha512": "sha512sum"}
COLOUR = re.compile(rb"\x1b\[[0-9;]*[34][0-7]m")


def answers(result: Result) -> dict[str, Any]:
    """Return what a scan says, by path; fails when it says something twice."""
    found = [json.loads(line) for line in result.lines]
    by_path = {answer["path"]: answer for answer in found}
    assert len(by_path) == len(found)
    return by_path


def digests(tool: str, paths: list[Path]) -> dict[str, str]:
    """Hash files with the system's own command."""
    done = subprocess.run([tool, *map(str, paths)], capture_output=True, text=True, check=True)
    return {line.split(maxsplit=1)[1]: line.split()[0] for line in done.stdout.splitlines()}


def test_hashes_are_those_of_the_systems_own_commands_and_search_finds_them(headrace: Command) -> None:
    paths = real_files(FILES)
    found = answers(headrace("scan", *paths, "--json"))
    assert list(found) != []
    assert set(found) == set(map(str, paths))
    assert {answer["outcome"] for answer in found.values()} == {"new"}
    for name, tool in HASHES.items():
        assert {path: answer[name] for path, answer in found.items()} == digests(tool, paths)
    for path, answer in found.items():
        assert answer["size_bytes"] == Path(path).stat().st_size
        assert answer["mime"]
        assert answer["magic"]
        assert answer["problem"] == ""
    one = found[str(paths[0])]["sha256"]
    page = headrace("search", f"sha256:{one}", "--json").json
    assert {hit["body"]["action"] for hit in page["hits"]} == {"sourced", "enriched"}


def test_the_second_scan_knows_every_file_and_says_the_same_of_it(
    headrace: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    for name in ("a", "b", "below/c"):
        (folder / name).write_text(f"the content of {name}")
    first = answers(headrace("scan", folder, "--json"))
    second = answers(headrace("scan", folder, "--json"))
    assert {answer.pop("outcome") for answer in first.values()} == {"new"}
    assert {answer.pop("outcome") for answer in second.values()} == {"known"}
    assert second == first
    (folder / "b").write_text("something else")
    os.utime(folder / "a", (1, 1))
    third = answers(headrace("scan", folder, "--json"))
    assert {Path(path).name: answer["outcome"] for path, answer in third.items()} == {
        "a": "new",  # the same bytes at another time are another submission
        "b": "new",
        "c": "known",
    }


def test_a_path_named_twice_is_one_file(headrace: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("once")
    assert len(answers(headrace("scan", tmp_path / "file", "file", tmp_path, "--json"))) >= 1
    lines = headrace("scan", tmp_path / "file", "file", "--json").lines
    assert len(lines) == 1


def test_an_empty_folder_is_done_at_once(headrace: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert headrace("scan", tmp_path / "empty", "--json").lines == []
    assert "no files" in headrace("scan", tmp_path / "empty").text


def test_people_get_a_line_a_file_and_a_summary(headrace: Command, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "script.sh").write_text("#!/bin/sh\necho hello\n")
    (folder / "notes.txt").write_text("some notes\n")
    lines = headrace("scan", folder).lines
    assert sum("script.sh" in line for line in lines) == 1
    assert sum("notes.txt" in line for line in lines) == 1
    assert any(line.startswith("2 new; ") for line in lines)
    assert b"\x1b" not in headrace("scan", folder).out


def test_exit_codes_tell_how_it_went(headrace: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("good")
    missing = headrace("scan", tmp_path / "nowhere", code=3)
    assert "nowhere: there is no such file or folder" in missing.err
    headrace("scan", tmp_path / "file", "--nonsense", code=2)
    headrace("scan", code=2)
    failed = headrace("scan", tmp_path / "file", "/dev/null", "--json", code=1)
    assert {answer["outcome"] for answer in answers(failed).values()} == {"new", "failed"}
    assert headrace("scan", tmp_path / "file").code == 0


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_are_for_terminals_whose_owner_wants_them(tmp_path: Path, no_color: str) -> None:
    (tmp_path / "file").write_text("coloured?")
    extra = {"NO_COLOR": no_color, "TERM": "xterm-256color"} if no_color else {"TERM": "xterm-256color"}
    shown = in_terminal(
        [*PROGRAM, "scan", str(tmp_path / "file"), "--data", str(tmp_path / "data")],
        {**environment(tmp_path), **extra},
    )
    assert b"file" in shown
    assert bool(COLOUR.search(shown)) != bool(no_color)


def in_terminal(command: list[str], variables: dict[str, str]) -> bytes:
    """Run a command whose standard output is a terminal; return what it wrote there."""
    outer, inner = pty.openpty()
    with subprocess.Popen(command, stdout=inner, stderr=subprocess.PIPE, env=variables) as process:
        os.close(inner)
        shown = b""
        while piece := _read(outer):
            shown += piece
        os.close(outer)
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    return shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side is gone
        return b""

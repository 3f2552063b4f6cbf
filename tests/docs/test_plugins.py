"""The worked example of docs/plugins.md is run as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.processes import environment, run

DOCUMENT = (Path(__file__).parent.parent.parent / "docs/plugins.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with the files the document tells to write: each block names its file first."""
    for block in blocks("python"):
        name = re.match(r"# (\w+\.py)\n", block)
        if name:
            (tmp_path / name[1]).write_text(block)
    return tmp_path


def test_the_example_is_ten_lines(folder: Path) -> None:
    lines = (folder / "line_count.py").read_text().splitlines()[1:]
    assert len([line for line in lines if line]) <= 10


def test_the_plugin_over_a_file_prints_what_the_document_shows(folder: Path) -> None:
    command, *shown = next(block for block in blocks("console") if "plugin test" in block).splitlines()
    (folder / "notes.txt").write_text("one\ntwo\n")
    assert command.startswith("$ headrace ")
    done = run(
        command.removeprefix("$ headrace ").split(),
        environment=environment(folder),
        before=["/usr/bin/env", "-C", str(folder)],
    )
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [line.split() for line in shown]


def test_the_tests_of_the_document_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    ran = 0
    for file in sorted(folder.glob("test_*.py")):
        names: dict[str, object] = {}
        exec(compile(file.read_text(), str(file), "exec"), names)  # noqa: S102 - the document's own words
        for name, test in list(names.items()):
            if name.startswith("test_") and callable(test):
                test()
                ran += 1
    assert ran == len(re.findall(r"^def test_", DOCUMENT, re.MULTILINE)) > 3

"""headrace filetype: what files are, and nothing kept of it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.command import Command


def test_files_below_a_folder_are_told_by_name_format_and_mime(headrace: Command, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    (folder / "a.txt").write_text("some text\n")
    (folder / "below" / "b.pdf").write_bytes(b"%PDF-1.4\n%%EOF\n")
    result = headrace.plain("filetype", str(folder))
    assert not result.err, "nothing of parser processes that were still starting when all was told"
    assert [line.split("\t") for line in result.lines] == [
        [str(folder / "a.txt"), "text/plain", "text/plain"],
        [str(folder / "below" / "b.pdf"), "document/pdf", "application/pdf"],
    ]
    as_json = headrace.plain("filetype", "--json", str(folder / "a.txt"))
    assert json.loads(as_json.out) == {
        "path": str(folder / "a.txt"),
        "file_format": "text/plain",
        "mime": "text/plain",
    }


def test_a_file_that_cannot_be_read_is_told_and_the_others_are(headrace: Command, tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("some text\n")
    result = headrace.plain("filetype", str(tmp_path / "gone"), str(tmp_path / "a.txt"), code=1)
    assert "gone" in result.err
    assert len(result.lines) == 1
    assert "there is no such file" in headrace.plain("filetype", str(tmp_path / "no"), code=3).err

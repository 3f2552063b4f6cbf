"""The note of a running server: found while it runs, ignored when it is stale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.app import make_parts, open_parts
from pipeline.errors import Conflict
from pipeline.settings import load
from pipeline.web import presence
from pipeline.web.presence import Presence
from pipeline.web.server import serve
from tests.web.site import opened


async def test_a_server_is_found_while_it_runs_and_not_after(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        found = presence.find(tmp_path)
        assert found is not None
        assert (found.url, found.pid) == (site.url, os.getpid())
    assert presence.find(tmp_path) is None
    assert not (tmp_path / presence.NAME).exists()


def test_a_note_of_a_dead_process_is_ignored(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    presence.announce(tmp_path, Presence("http://127.0.0.1:1", ended.pid, "0"))
    assert presence.find(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 1}', b"\xff", b"null"])
def test_a_damaged_note_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / presence.NAME).write_bytes(content)
    assert presence.find(tmp_path) is None


def test_a_server_removes_only_its_own_note(tmp_path: Path) -> None:
    ours = Presence("http://127.0.0.1:1", os.getpid(), "0")
    theirs = Presence("http://127.0.0.1:2", os.getppid(), "0")
    presence.announce(tmp_path, ours)
    presence.announce(tmp_path, theirs)
    presence.withdraw(tmp_path, ours)
    assert presence.find(tmp_path) == theirs
    presence.withdraw(tmp_path, theirs)
    assert presence.find(tmp_path) is None


async def test_an_address_in_use_is_refused_with_advice(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as site:
        settings = load(
            {"data": str(tmp_path / "b")}, environment={"XDG_CONFIG_HOME": str(tmp_path)}
        ).settings
        async with open_parts(make_parts(settings)) as parts:
            with pytest.raises(Conflict, match="--listen"):
                async with serve(parts, site.url.removeprefix("http://")):
                    pass
            assert presence.find(tmp_path / "b") is None

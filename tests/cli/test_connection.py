"""How commands find a Headrace: the one named, the one that runs, or one of their own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.web import presence
from pipeline.web.presence import Presence
from tests.cli.command import PROGRAM, Command
from tests.web.site import sha256


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_killed_server_is_not_waited_for(headrace: Command, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    with headrace.serving() as server:
        headrace("submit", tmp_path / "a")
        server.kill()
        server.wait()
        assert (headrace.data / presence.NAME).exists()
        headrace("get", sha256(b"one"), "--raw")


def test_a_note_whose_process_id_was_given_out_again_is_ignored(headrace: Command) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        presence.announce(headrace.data, Presence(f"http://127.0.0.1:{_free_port()}", other.pid, "0"))
        headrace("tasks list")
    finally:
        other.communicate(b"\n")


def test_a_named_server_that_does_not_answer_is_unreachable(headrace: Command) -> None:
    address = f"http://127.0.0.1:{_free_port()}"
    result = headrace.plain("-s", f"api={address}", "tasks", "list", code=4)
    assert address in result.err


def test_a_named_server_is_used(headrace: Command, tmp_path: Path) -> None:
    with headrace.serving():
        note = presence.find(headrace.data)
        assert note is not None
        (tmp_path / "a").write_bytes(b"over the network")
        headrace.plain(
            "-s", f"api={note.url}/", "submit", "--data", str(tmp_path / "other"), str(tmp_path / "a")
        )
        headrace("get", sha256(b"over the network"))
    assert not (tmp_path / "other").exists()


class _Stranger(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(502, "Bad Gateway")
        self.end_headers()
        self.wfile.write(b"<html>no Headrace here</html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[str]:
    """Give the URL of a server that is something else."""
    with HTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_is_no_headrace_is_told_as_unreachable(headrace: Command, stranger: str) -> None:
    assert "502" in headrace.plain("-s", f"api={stranger}", "tasks", "list", code=4).err


_HOLDER = """
import asyncio, sys
from pathlib import Path
from pipeline.clock import SystemClock
from pipeline.log.embedded.log import shared

async def hold():
    log = shared(Path(sys.argv[1]), SystemClock())
    await log.open()
    print("held", flush=True)
    await asyncio.to_thread(input)
    await log.close()

asyncio.run(hold())
"""


def test_a_folder_another_process_holds_is_refused_not_damaged(headrace: Command) -> None:
    command = [sys.executable, "-c", _HOLDER, str(headrace.data / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        result = headrace("tasks list", code=1)
        assert "log" in result.err
        assert "Traceback" not in result.err
        holder.communicate(b"\n")
    headrace("tasks list")


def test_the_command_runs_as_a_process_of_its_own(headrace: Command, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"piped through")
    submit = subprocess.run(
        [*PROGRAM, "submit", "--data", headrace.data, tmp_path / "a"], capture_output=True, check=False
    )
    assert submit.returncode == 0, submit.stderr
    get = subprocess.run(
        [*PROGRAM, "get", "--data", headrace.data, "--raw", sha256(b"piped through")],
        capture_output=True,
        check=False,
    )
    assert get.stdout == b"piped through"
    gone = subprocess.run(
        [*PROGRAM, "get", "--data", headrace.data, "0" * 64], capture_output=True, check=False
    )
    assert gone.returncode == 3
    assert gone.stdout == b""

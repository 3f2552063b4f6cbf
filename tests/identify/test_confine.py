"""A confined process: what it must not be able to do any more, tried in a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, os, resource, signal, socket, subprocess, sys, threading
from pipeline.identify.confine import allow_cpu, confine

folder = sys.argv[1]
kept = open(folder + "/kept")
missing = confine(memory_bytes=64 << 20, parent=os.getppid())

def attempt(call):
    try:
        call()
    except BaseException as error:
        return type(error).__name__
    return "worked"

def in_thread():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()

answers = {
    "read": attempt(lambda: open(folder + "/kept").read()),
    "thread": attempt(in_thread),
    "more cpu": attempt(lambda: allow_cpu(5)),
    "write": attempt(lambda: open(folder + "/new", "w")),
    "append": attempt(lambda: open(folder + "/kept", "a")),
    "read and write": attempt(lambda: os.open(folder + "/kept", os.O_RDWR)),
    "truncate": attempt(lambda: os.truncate(folder + "/kept", 0)),
    "remove": attempt(lambda: os.remove(folder + "/kept")),
    "rename": attempt(lambda: os.rename(folder + "/kept", folder + "/other")),
    "link": attempt(lambda: os.link(folder + "/kept", folder + "/other")),
    "symlink": attempt(lambda: os.symlink(folder + "/kept", folder + "/other")),
    "folder": attempt(lambda: os.mkdir(folder + "/sub")),
    "mode": attempt(lambda: os.chmod(folder + "/kept", 0o777)),
    "mode of open file": attempt(lambda: os.fchmod(kept.fileno(), 0o777)),
    "time": attempt(lambda: os.utime(folder + "/kept")),
    "memory file": attempt(lambda: os.memfd_create("x")),
    "network": attempt(lambda: socket.socket()),
    "local socket": attempt(lambda: socket.socketpair()),
    "fork": attempt(os.fork),
    "program": attempt(lambda: subprocess.run(["true"])),
    "become program": attempt(lambda: os.execv("/bin/true", ["true"])),
    "signal parent": attempt(lambda: os.kill(os.getppid(), 0)),
    "memory": attempt(lambda: bytearray(128 << 20)),
    "raise memory": attempt(lambda: resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)),
    "raise files": attempt(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))),
}
core = [line.split()[4:6] for line in open('/proc/self/limits') if line.startswith('Max core')]
print(json.dumps({"missing": missing, "answers": answers, "core": core}))
"""

ALLOWED = {"read", "thread", "more cpu"}


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what came of each attempt."""
    folder = tmp_path_factory.mktemp("confined")
    (folder / "kept").write_text("kept")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder], check=True, capture_output=True, text=True
    )
    said = json.loads(done.stdout)
    if said["missing"]:
        pytest.skip(f"this kernel: {said['missing']}")
    assert said["core"] == [["0", "0"]]
    assert [path.name for path in folder.iterdir()] == ["kept"]
    assert (folder / "kept").read_text() == "kept"
    answers: dict[str, str] = said["answers"]
    return answers


def test_parsing_is_still_possible(tried: dict[str, str]) -> None:
    assert {name for name, came in tried.items() if came == "worked"} == ALLOWED


def test_what_is_refused_is_refused_by_permission_not_by_accident(tried: dict[str, str]) -> None:
    refused = {name: came for name, came in tried.items() if name not in ALLOWED}
    assert refused.pop("memory") == "MemoryError"
    # Python reports a refused setrlimit as ValueError.
    assert {refused.pop("raise memory"), refused.pop("raise files")} <= {"ValueError", "PermissionError"}
    assert set(refused.values()) == {"PermissionError"}


def test_a_process_whose_parent_is_gone_ends_before_it_works(tmp_path: Path) -> None:
    script = (
        "from pipeline.identify.confine import confine\n"
        "confine(memory_bytes=1 << 30, parent=1 << 22)\n"
        "print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stdout == b""


def test_processor_time_is_the_backstop() -> None:
    script = (
        "import resource, time\n"
        "from pipeline.identify import confine\n"
        "confine._CPU_SLACK_SECONDS = 0\n"
        "confine.allow_cpu(0.01)\n"
        "while True: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, timeout=60)
    assert -done.returncode == 24  # SIGXCPU


def test_the_process_cannot_see_the_secrets_of_the_service() -> None:
    """The environment of a parser process holds none of the settings."""
    from pipeline.identify.parser import environment

    os.environ["HEADRACE_DATABASE"] = "postgresql://user:secret@host/database"
    try:
        assert set(environment()) <= {
            "LANG",
            "LD_LIBRARY_PATH",
            "OPENBLAS_NUM_THREADS",
            "PATH",
            "PYTHONPATH",
        }
    finally:
        del os.environ["HEADRACE_DATABASE"]

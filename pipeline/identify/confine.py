"""What the parser process gives up before it sees the first untrusted byte.

Afterwards it cannot grow beyond its memory limit, write or change files, reach the network, start programs
or gain privileges, and it dies with its parent. Design section 4.8.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import time

from pipeline import limits
from pipeline.identify import seccomp

_SET_DEATH_SIGNAL = 1
_SET_NO_NEW_PRIVILEGES = 38
_CPU_SLACK_SECONDS = 5


def confine(*, memory_bytes: int, parent: int) -> list[str]:
    """Give up everything not needed for parsing; it cannot be undone.

    Args:
        memory_bytes: Address space beyond what the process has now.
        parent: The process that must be alive; when it is gone already, this one ends.

    Returns:
        What this kernel did not allow, one sentence each; empty when all is in force.
    """
    missing = [_prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, "dying with the parent")]
    if os.getppid() != parent:
        raise SystemExit("the parent is gone")
    missing.append(_prctl(_SET_NO_NEW_PRIVILEGES, 1, "giving up new privileges"))
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_FSIZE, 0)
    _set(resource.RLIMIT_NOFILE, limits.PARSER_OPEN_FILES)
    _set(resource.RLIMIT_AS, _address_space_bytes() + memory_bytes)
    try:
        seccomp.install()
    except OSError as error:
        missing.append(f"filtering system calls is not possible here: {error.strerror}")
    return [sentence for sentence in missing if sentence]


def allow_cpu(seconds: float) -> None:
    """Let this process use so much more processor time; beyond it the kernel ends it.

    The backstop for a parent that cannot watch the clock: the parent's own limit comes first.
    """
    soft = math.ceil(time.process_time() + seconds) + _CPU_SLACK_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _set(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, value))


def _address_space_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not imported here
        return int(file.read().split()[0]) * resource.getpagesize()


def _prctl(option: int, value: int, purpose: str) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0:
        return ""
    return f"{purpose} is not possible here: {os.strerror(ctypes.get_errno())}"

"""A system call filter for the parser process: no network, no new programs, no writing to files.

A short BPF program made here and handed to the kernel for all threads of the process. A refused call fails
with EPERM; calls with an older twin fail with ENOSYS, so that the C library falls back to the one that can
be checked. Reading files, threads and memory stay allowed. See seccomp(2), prctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_FOREIGN_CALLS = 0x4000_0000
"""On x86_64, numbers from here on are the same calls under another name."""

_SET_MODE_FILTER = 1
_ALL_THREADS = 1

_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06
_ALLOW = 0x7FFF_0000
_FAIL = 0x0005_0000

_AT_NUMBER = 0
_AT_ARCHITECTURE = 4
_AT_ARGUMENTS = 16

_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_THREAD_FLAG = 0x10000
_CPU_LIMIT = 0


# Calls that are refused: name:number on x86_64:number on aarch64, "-" where there is none.
_NETWORK = """
    socket:41:198 socketpair:53:199 bind:49:200 listen:50:201 accept:43:202 accept4:288:242
    connect:42:203
"""
_PROCESSES = """
    execve:59:221 execveat:322:281 fork:57:- vfork:58:- ptrace:101:117 process_vm_readv:310:270
    process_vm_writev:311:271 kill:62:129 tkill:200:130 rt_sigqueueinfo:129:138
    rt_tgsigqueueinfo:297:240 pidfd_send_signal:424:424 pidfd_getfd:438:438 setns:308:268
    unshare:272:97
"""
_FILES = """
    creat:85:- open_by_handle_at:304:265 truncate:76:45 ftruncate:77:46 fallocate:285:47 rename:82:-
    renameat:264:38 renameat2:316:276 mkdir:83:- mkdirat:258:34 rmdir:84:- unlink:87:-
    unlinkat:263:35 link:86:- linkat:265:37 symlink:88:- symlinkat:266:36 mknod:133:- mknodat:259:33
    chmod:90:- fchmod:91:52 fchmodat:268:53 fchmodat2:452:452 chown:92:- fchown:93:55 lchown:94:-
    fchownat:260:54 utime:132:- utimes:235:- futimesat:261:- utimensat:280:88 setxattr:188:5
    lsetxattr:189:6 fsetxattr:190:7 removexattr:197:14 lremovexattr:198:15 fremovexattr:199:16
    memfd_create:319:279
"""
_MACHINE = """
    mount:165:40 umount2:166:39 pivot_root:155:41 chroot:161:51 bpf:321:280 perf_event_open:298:241
    userfaultfd:323:282 io_uring_setup:425:425 io_uring_enter:426:426 io_uring_register:427:427
    add_key:248:217 request_key:249:218 keyctl:250:219 init_module:175:105 finit_module:313:273
    kexec_load:246:104 reboot:169:142
"""
_REFUSED = f"{_NETWORK}{_PROCESSES}{_FILES}{_MACHINE}"
_MISSING = "clone3:435:435 openat2:437:437"
"""Calls the filter cannot look into; their older twins are checked instead."""
_CHECKED = "open:2:- openat:257:56 clone:56:220 setrlimit:160:164 prlimit64:302:261"


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


_WRITES = _Instruction(_JUMP_ANY_BIT, 0, 1, _WRITE_FLAGS)
_NO_THREAD = _Instruction(_JUMP_ANY_BIT, 1, 0, _THREAD_FLAG)
# Limits other than that of processor time cannot even be looked at; nobody needs to.
_NOT_CPU = _Instruction(_JUMP_EQUAL, 1, 0, _CPU_LIMIT)
_CHECKS = {
    "open": (1, _WRITES),
    "openat": (2, _WRITES),
    "clone": (0, _NO_THREAD),
    "setrlimit": (0, _NOT_CPU),
    "prlimit64": (1, _NOT_CPU),
}
"""Which argument is looked at, and the test that falls through to the refusal."""


def install() -> None:
    """Filter this process' system calls from now on, in all its threads; it cannot be undone.

    The process must have given up new privileges before (PR_SET_NO_NEW_PRIVS).

    Raises:
        OSError: The kernel or the architecture does not allow it.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"there is no filter for {machine}")
    instructions = _filter(machine)
    array = (_Instruction * len(instructions))(*instructions)
    program = _Program(len(instructions), array)
    libc = ctypes.CDLL(None, use_errno=True)
    number = ctypes.c_long(_SECCOMP[machine])
    if libc.syscall(number, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program)) != 0:
        code = ctypes.get_errno() or errno.EPERM
        raise OSError(code, os.strerror(code))


def _filter(machine: str) -> list[_Instruction]:
    program = [
        _Instruction(_LOAD, 0, 0, _AT_ARCHITECTURE),
        _Instruction(_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        _fail(errno.EPERM),
        _Instruction(_LOAD, 0, 0, _AT_NUMBER),
        _Instruction(_JUMP_AT_LEAST, 0, 1, _FOREIGN_CALLS),
        _fail(errno.EPERM),
    ]
    for calls, code in ((_REFUSED, errno.EPERM), (_MISSING, errno.ENOSYS)):
        for number in _numbers(calls, machine).values():
            program += [_Instruction(_JUMP_EQUAL, 0, 1, number), _fail(code)]
    for name, number in _numbers(_CHECKED, machine).items():
        program += _checked(number, *_CHECKS[name])
    return [*program, _Instruction(_RETURN, 0, 0, _ALLOW)]


def _numbers(calls: str, machine: str) -> dict[str, int]:
    column = 1 + list(_ARCHITECTURES).index(machine)
    split = (call.split(":") for call in calls.split())
    return {parts[0]: int(parts[column]) for parts in split if parts[column] != "-"}


def _checked(number: int, argument: int, test: _Instruction) -> list[_Instruction]:
    """Refuse a call when `test` of its argument's lower half falls through, allow it when it jumps."""
    return [
        _Instruction(_JUMP_EQUAL, 0, 4, number),
        _Instruction(_LOAD, 0, 0, _AT_ARGUMENTS + 8 * argument),
        test,
        _fail(errno.EPERM),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    ]


def _fail(code: int) -> _Instruction:
    return _Instruction(_RETURN, 0, 0, _FAIL | code)

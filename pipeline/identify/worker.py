"""The parser process: ``python -m pipeline.identify.worker``, its socket as standard input.

Compiles the rules, gives up everything it does not need, then answers requests in order until the service
closes the socket. It is the only process that looks into untrusted bytes. What goes wrong with a file ends
this process, never the service: running out of memory by exit code, everything else by dying.
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from pipeline import limits
from pipeline.errors import HeadraceError
from pipeline.identify.confine import allow_cpu, confine
from pipeline.identify.formats import shipped_formats
from pipeline.identify.identifier import Identifier
from pipeline.identify.magic import Magic
from pipeline.identify.messages import (
    EXIT_MEMORY,
    REQUEST,
    SETUP,
    Answer,
    Asked,
    BlocksRequest,
    Extracted,
    Frames,
    Large,
    Ready,
    Refused,
    Request,
    Result,
    Setup,
    Told,
    frame,
)
from pipeline.identify.rules_folder import read_sources
from pipeline.identify.subject import Subject
from pipeline.identify.texts import extract
from pipeline.identify.yara import UserRules


def main() -> None:
    """Work until the socket is closed by the other side."""
    with socket.socket(fileno=0) as channel:
        messages = _messages(channel)
        setup = SETUP.decode(next(messages))
        identifier, rules = _prepare(setup)
        not_enforced = confine(memory_bytes=setup.memory_bytes, parent=setup.parent)
        channel.sendall(frame(Ready(rules.report, not_enforced)))
        for message in messages:
            asked = REQUEST.decode(message)
            try:
                reply = _reply(channel, identifier, setup, asked)
            except MemoryError:
                # Nothing may be allocated any more, and what is left of the heap is not worth keeping.
                os._exit(EXIT_MEMORY)
            channel.sendall(frame(reply))


def _reply(channel: socket.socket, identifier: Identifier, setup: Setup, asked: Asked) -> Result | Refused:
    if isinstance(asked, Request):
        return _answer(channel, identifier, setup, asked)
    allow_cpu(setup.timeout_seconds)
    if isinstance(asked, BlocksRequest):
        return Told(asked.number, identifier.mime_types(asked.blocks))
    extracts = [extract(*payload, asked.max_characters) for payload in asked.payloads]
    return Extracted(asked.number, extracts)


def _prepare(setup: Setup) -> tuple[Identifier, UserRules]:
    folder = None if setup.rules_folder is None else Path(setup.rules_folder)
    rules = UserRules(
        read_sources(folder),
        scan_max_bytes=setup.yara_scan_max_bytes,
        timeout_seconds=setup.yara_timeout_seconds,
    )
    identifier = Identifier(Magic(), shipped_formats(), rules)
    # The first file makes the libraries allocate and start what they need; that belongs before the limits.
    with Subject(__file__) as subject:
        identifier.identify(subject)
    gc.collect()
    gc.freeze()
    return identifier, rules


def _messages(channel: socket.socket) -> Iterator[bytes]:
    frames = Frames()
    while data := channel.recv(limits.CHUNK_BYTES):
        yield from frames.feed(data)


def _answer(
    channel: socket.socket, identifier: Identifier, setup: Setup, request: Request
) -> Answer | Refused:
    path = os.fsdecode(request.path)
    try:
        with Subject(path) as subject:
            if subject.whole is None:
                channel.sendall(frame(Large(request.number, subject.size_bytes)))
            allow_cpu(setup.timeout_seconds + subject.size_bytes / limits.PARSE_BYTES_PER_SECOND)
            return Answer(request.number, identifier.identify(subject, parse=request.parse))
    except HeadraceError as error:
        return Refused(request.number, type(error).__name__, error.tried, error.why)
    except OSError as error:
        return Refused(request.number, "Unavailable", f"read {path!r}", error.strerror or str(error))


if __name__ == "__main__":
    main()

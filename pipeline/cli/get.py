"""headrace get: fetch the bytes of an object, neutered unless asked raw."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import aiohttp
import typer

from pipeline import limits
from pipeline.cli import output
from pipeline.cli.client import Client, connection
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.errors import BadInput, Damaged, HeadraceError, NotFound
from pipeline.settings import Settings

_KINDS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("get")(get)


def get(
    context: typer.Context,
    digest: Annotated[
        str, typer.Argument(metavar="HASH", help="SHA-256, or another hash of a known file.")
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write; - is standard output."),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes themselves instead of a CaRT.")] = False,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Fetch an object. It comes as a CaRT, which nothing runs by accident; --raw gives the bytes.

    Without -o it goes to standard output, or on a terminal to a file named by the hash. A file appears
    whole or not at all, and raw bytes are checked against the hash.

    Example: headrace get 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 -o sample.cart
    """
    settings = settings_of(context, data=str(data) if data else None)
    report = run_loop(_get(settings, digest.strip().lower(), out, raw=raw, to_file=as_json))
    if as_json:
        output.print_json(report)
    elif report["path"] is not None:
        output.note(f"{report['path']}: {output.size(report['size_bytes'])}")


async def _get(
    settings: Settings, digest: str, out: Path | None, *, raw: bool, to_file: bool
) -> dict[str, Any]:
    async with connection(settings) as client:
        sha256 = await resolve(client, digest)
        form = "raw" if raw else "cart"
        async with client.download(f"/api/objects/{sha256}/content", format=form) as response:
            path = _target(out, sha256 if raw else f"{sha256}.cart", to_file=to_file)
            if path is None:
                size_bytes, found = await _copy(response, sys.stdout.buffer)
                await asyncio.to_thread(sys.stdout.buffer.flush)
                if raw:
                    _check(sha256, found)
            else:
                size_bytes = await _to_file(response, path, sha256 if raw else None)
    shown = None if path is None else str(path)
    return {"sha256": sha256, "format": form, "path": shown, "size_bytes": size_bytes}


async def resolve(client: Client, digest: str) -> str:
    """Return the SHA-256 of an object named by any of its hashes.

    Raises:
        BadInput: It is no hash. NotFound: No document knows it.
    """
    kind = _KINDS.get(len(digest))
    if kind is None or set(digest) - set("0123456789abcdef"):
        raise BadInput(f"find the object {digest[:130]!r}", "it is not an MD5, SHA-1, SHA-256 or SHA-512")
    if kind == "sha256":
        return digest
    page = await client.get("/api/search", q=f"{kind}:{digest}", limit=1)
    if not page["hits"]:
        raise NotFound(f"find the object with the {kind} {digest}", "no document knows it")
    return str(page["hits"][0]["body"]["sha256"])


def _target(out: Path | None, name: str, *, to_file: bool) -> Path | None:
    """Choose the file to write, None for standard output."""
    if out is not None:
        return None if str(out) == "-" and not to_file else out
    return Path(name) if to_file or sys.stdout.isatty() else None


async def _to_file(response: aiohttp.ClientResponse, path: Path, sha256: str | None) -> int:
    """Write beside the target and rename, so that the target is never a part of the object."""
    tried = f"write {output.safe(path)}"
    try:
        descriptor, name = await asyncio.to_thread(tempfile.mkstemp, dir=path.parent, prefix=".headrace-")
    except OSError as error:
        raise HeadraceError(tried, error.strerror or str(error)) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            size_bytes, found = await _copy(response, file)
        if sha256 is not None:
            _check(sha256, found)
        await asyncio.to_thread(os.replace, name, path)
    except OSError as error:
        raise HeadraceError(tried, error.strerror or str(error)) from error
    finally:
        with suppress(FileNotFoundError):
            await asyncio.to_thread(os.unlink, name)
    return size_bytes


async def _copy(response: aiohttp.ClientResponse, file: BinaryIO) -> tuple[int, str]:
    """Copy the body of an answer; return its size and SHA-256."""
    found = hashlib.sha256()
    size_bytes = 0
    with output.progress() as progress:
        task = progress.add_task("receiving", total=response.content_length)
        async for chunk in response.content.iter_chunked(limits.CHUNK_BYTES):
            await asyncio.to_thread(_take, file, found, chunk)
            size_bytes += len(chunk)
            progress.advance(task, len(chunk))
    return size_bytes, found.hexdigest()


def _take(file: BinaryIO, found: Any, chunk: bytes) -> None:
    found.update(chunk)
    file.write(chunk)


def _check(sha256: str, found: str) -> None:
    if found != sha256:
        why = f"the bytes that came have the SHA-256 {found}"
        raise Damaged(f"get {sha256}", why, "the store or the way here changed them")

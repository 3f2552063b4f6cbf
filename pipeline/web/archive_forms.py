"""Answers of the archive: BSON, or JSON for clients that prefer it (archive contract, section 17.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import web

from pipeline.archive import bson
from pipeline.web.accept import quality
from pipeline.web.answers import answer

BSON = "application/bson"
JSON = "application/json"
_UNSAFE = re.compile(r"[^A-Za-z0-9!#$&+.^_`|~ ()\[\]{}@,=-]")
_NAME_MAX_CHARACTERS = 200


def wants_json(request: web.Request) -> bool:
    """Say whether a client prefers JSON; one that does not care gets BSON."""
    return quality(request, JSON) > quality(request, BSON)


def respond(request: web.Request, value: Mapping[str, Any], *, status: int = 200) -> web.Response:
    """Answer with texts, numbers, truth values, lists and mappings of them."""
    if wants_json(request):
        return answer(value, status=status)
    return web.Response(body=bson.write(value), status=status, content_type=BSON)


def attachment(name: str) -> dict[str, str]:
    """Give the headers of bytes that no browser shows or guesses at, under a name a stranger chose.

    The name comes in letters every client can read, and in full where that differs (RFC 6266, section 4.3).
    """
    name = name[:_NAME_MAX_CHARACTERS]
    plain = _UNSAFE.sub("_", name) or "_"
    disposition = f'attachment; filename="{plain}"'
    if plain != name:
        disposition += f"; filename*=UTF-8''{quote(name, safe='')}"
    return {
        "Content-Disposition": disposition,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }

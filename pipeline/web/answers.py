"""One way to answer JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

_encoder = msgspec.json.Encoder()


def answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Answer with a msgspec struct, or plain data, as JSON."""
    body = _encoder.encode(value)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)

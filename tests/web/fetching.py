"""A client of the hub's events, written from the contract alone (dispatcher contract, sections 8, 10)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

BOUNDARY = re.compile(r"multipart/form-data; boundary=([0-9a-f]{60})")
INFO_FIELDS = {"filtered", "fetched", "ready", "paused", "consumers_not_ready", "filters"}


@dataclass(frozen=True)
class Answer:
    """What a fetch gave."""

    info: dict[str, Any]
    events: list[dict[str, Any]]


def parts_of(body: bytes, boundary: str) -> dict[str, bytes]:
    """Take a multipart body apart, byte by byte as the contract shows it."""
    start, end = f"--{boundary}\r\n".encode(), f"\r\n--{boundary}--\r\n".encode()
    assert body.startswith(start), body[:200]
    assert body.endswith(end), body[-200:]
    parts = {}
    for part in body[len(start) : -len(end)].split(b"\r\n" + start):
        head, _, content = part.partition(b"\r\n\r\n")
        named = re.fullmatch(
            rb'Content-Disposition: form-data; name="(\w+)"; filename="\1.json"\r\n'
            rb"Content-Type: application/octet-stream",
            head,
        )
        assert named, head
        parts[named[1].decode()] = content
    return parts


async def fetch(
    client: aiohttp.ClientSession, url: str, model: str = "binary", kind: str = "passive", **query: Any
) -> Answer:
    """Fetch as the Python client does, which forbids fields it does not know."""
    asked = {
        name if name == "deployment_key" else name.replace("_", "-"): value
        for name, value in {"name": "plug", "version": "1.2", "deadline": 0, **query}.items()
    }
    pairs = [
        (name, str(one))
        for name, value in asked.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    async with client.get(f"{url}/api/v2/event/{model}/{kind}", params=pairs) as response:
        body = await response.read()
        assert response.status == 200, body
        boundary = BOUNDARY.fullmatch(response.headers["Content-Type"])
        assert boundary, response.headers
    parts = parts_of(body, boundary[1])
    assert list(parts) == ["info", "events"]
    info, events = json.loads(parts["info"]), json.loads(parts["events"])
    assert set(info) <= INFO_FIELDS
    assert set(events) == {"events"}
    assert info["fetched"] == len(events["events"])
    assert info["filtered"] == sum(info.get("filters", {}).values())
    return Answer(info, events["events"])


async def post(
    client: aiohttp.ClientSession, url: str, model: str, events: Sequence[Any], **query: Any
) -> Any:
    """Publish events and return the answer; all of them must be accepted."""
    async with client.post(
        f"{url}/api/v2/event", params={"model": model, **query}, data=json.dumps(list(events)).encode()
    ) as response:
        answer = await response.json()
        assert response.status == 200, answer
        assert not answer["failures"], answer
        return answer

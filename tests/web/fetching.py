"""A client of the hub's events, written from the contract alone (dispatcher contract, sections 8, 10)."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from pipeline.events.avro import decode_avro_bulk, encode_avro_bulk
from pipeline.events.models import Event
from pipeline.hub.wanted import Wanted
from pipeline.web.hub_sharing import PATH
from tests.events.samples import BINARY, NODE, SOURCE, STATUS

PATIENCE_SECONDS = 60.0
"""How long events may take to come before the test gives up; never how long is waited for them."""
BOUNDARY = re.compile(r"multipart/form-data; boundary=([0-9a-f]{60})")
INFO_FIELDS = {"filtered", "fetched", "ready", "paused", "consumers_not_ready", "filters"}


@dataclass(frozen=True)
class Answer:
    """What a fetch gave."""

    info: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def names(self) -> list[str]:
        """What tells the events apart, in order."""
        return names_of(self.events)

    @property
    def filters(self) -> dict[str, int]:
        """What was held back, by count."""
        return dict(self.info.get("filters", {}))


def named(name: object, action: str = "sourced", **changes: Any) -> dict[str, Any]:
    """Make a valid binary event that is told by its name; `changes` are whole members of it.

    `source` names its source, `depth` is the number of nodes of its path, `size` that of its content.
    """
    source, depth, size = (
        changes.pop(key, usual) for key, usual in (("source", "testing"), ("depth", 1), ("size", 3))
    )
    path = [{**NODE, "sha256": f"{number:02x}"} for number in range(depth)]
    streams = [{"label": "content", "size": size, "sha256": "aa"}]
    if action == "augmented":
        streams.append({"label": "text", "size": size, "sha256": "ab"})
    if action in {"mapped", "enriched"}:
        streams = []
    return {
        **BINARY,
        "action": action,
        "source": {**SOURCE, "name": source, "references": {"name": f"{name}"}, "path": path},
        "entity": {"sha256": "aa", "datastreams": streams},
        **changes,
    }


def names_of(events: Iterable[dict[str, Any]]) -> list[str]:
    """Return the names of events made by `named`, in order."""
    return [event["source"]["references"]["name"] for event in events]


def status_of(task: Mapping[str, Any], status: str, **entity: Any) -> dict[str, Any]:
    """Make the status a plugin posts about a task, whose event it slims."""
    slim = {**task, "entity": {"sha256": task["entity"]["sha256"]}}
    return {**STATUS, "entity": {"input": slim, "status": status, **entity}}


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
    info, events = await _fetch_parts(client, f"{url}/api/v2/event/{model}/{kind}", query)
    decoded = json.loads(events)
    assert set(decoded) == {"events"}
    assert info["fetched"] == len(decoded["events"])
    return Answer(info, decoded["events"])


async def fetch_avro(
    client: aiohttp.ClientSession, url: str, model: str = "binary", kind: str = "passive", **query: Any
) -> list[Event]:
    """Fetch as tools do that want Avro; the bytes are just those that encoding the events gives."""
    asked = {"avro_format": "true", **query}
    info, bulk = await _fetch_parts(client, f"{url}/api/v2/event/{model}/{kind}", asked)
    events = decode_avro_bulk(model, bulk)
    assert encode_avro_bulk(model, events) == bulk
    assert info["fetched"] == len(events)
    return events


async def _fetch_parts(
    client: aiohttp.ClientSession, path: str, query: dict[str, Any]
) -> tuple[dict[str, Any], bytes]:
    asked = {
        name if name == "deployment_key" else name.replace("_", "-"): value
        for name, value in {"name": "plug", "version": "1.2", "deadline": 0, **query}.items()
    }
    pairs = [
        (name, str(one))
        for name, value in asked.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    async with client.get(path, params=pairs) as response:
        body = await response.read()
        assert response.status == 200, body
        boundary = BOUNDARY.fullmatch(response.headers["Content-Type"])
        assert boundary, response.headers
    parts = parts_of(body, boundary[1])
    assert list(parts) == ["info", "events"]
    info = json.loads(parts["info"])
    assert set(info) <= INFO_FIELDS
    assert info["filtered"] == sum(info.get("filters", {}).values())
    return info, parts["events"]


async def post(
    client: aiohttp.ClientSession, url: str, model: str, events: Sequence[Any], **query: Any
) -> Any:
    """Publish events and return the answer; all of them must be accepted."""
    body = io.BytesIO(json.dumps(list(events)).encode())
    async with client.post(f"{url}/api/v2/event", params={"model": model, **query}, data=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
        assert not answer["failures"], answer
        return answer


@dataclass(frozen=True)
class Hub:
    """A hub as its clients see it."""

    client: aiohttp.ClientSession
    url: str

    async def fetch(self, model: str = "binary", kind: str = "passive", **query: Any) -> Answer:
        """Fetch once; it does not wait for events unless a deadline is given."""
        return await fetch(self.client, self.url, model, kind, **query)

    async def post(self, model: str, events: Sequence[Any], **query: Any) -> Any:
        """Publish events and return the answer; all of them must be accepted."""
        return await post(self.client, self.url, model, events, **query)

    async def publish(self, *names: object, action: str = "sourced", **changes: Any) -> None:
        """Publish binary events that are told by their names."""
        await self.post("binary", [named(name, action, **changes) for name in names])

    async def gather(
        self, wanted: int, model: str = "binary", kind: str = "passive", **query: Any
    ) -> Answer:
        """Fetch until so many events came; return them all, and the counts of all answers together."""
        events: list[dict[str, Any]] = []
        counts: Counter[str] = Counter()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(events) < wanted:
                asked = {"count": wanted - len(events), "deadline": 5, **query}
                answer = await self.fetch(model, kind, **asked)
                events += answer.events
                counts.update(answer.filters)
        return Answer({"fetched": len(events), "filters": dict(counts)}, events)

    async def refused(self, path: str, status: int = 422, **query: Any) -> dict[str, Any]:
        """Fetch something the hub refuses; return the error, whose form is checked."""
        asked = {name.replace("_", "-"): str(value) for name, value in query.items()}
        async with self.client.get(f"{self.url}/api/v2/event/{path}", params=asked) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == status, answer
            assert response.headers["Content-Type"] == "application/json; charset=utf-8"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert set(answer) <= {"status", "title", "detail", "error_enum"}, "clients forbid further fields"
        assert answer["status"] == f"{status}"
        return answer

    async def lose(self, wanted: Wanted) -> Answer:
        """Have a fetch answered and then say nothing of its receipt: it counts as not received.

        Done as another process of the installation would that is lost before its client has the answer.
        """
        async with self.client.ws_connect(self.url + PATH, max_msg_size=0) as connection:
            await connection.send_bytes(wanted.encode())
            info = json.loads(await connection.receive_str())
            events = json.loads(b"[%b]" % await connection.receive_bytes())
        return Answer(info, events)


def wanted(kind: str = "passive", **changes: Any) -> Wanted:
    """Make the request that `fetch` makes, in the form in which processes pass it on."""
    usual: dict[str, Any] = {
        "name": "plug",
        "version": "1.2",
        "model": "binary",
        "is_task": kind == "active",
    }
    return Wanted(**{**usual, **changes})

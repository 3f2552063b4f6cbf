"""A served archive with users, for tests of its routes: messages in it, and callers who are somebody."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import bson
import msgspec
import pytest
import scramp
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits, limits_archive
from pipeline.archive import lookup
from pipeline.archive.access.users import MECHANISM, make_entry
from pipeline.archive.lookup import ArchivedRow
from pipeline.archive.message import Message
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import Clock
from pipeline.database.tables import messages
from tests.databases import postgres_schema
from tests.stores import s3_url
from tests.web.site import Site, opened

KINDS = ["embedded", pytest.param("servers", marks=[pytest.mark.postgres, pytest.mark.s3])]
"""Parameters for what runs on SQLite with a folder, and on PostgreSQL with S3."""
PASSWORD = "open sesame"
TOKEN = "a token of dave"
TIME_MS = 1_700_000_000_123
PUBLIC, PRIVATE = "alerts.public", "alerts.private"


@functools.cache
def _keys() -> str:
    """Give the line of the keys of `PASSWORD`, with as few rounds as are allowed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits_archive, "SCRAM_ITERATIONS", 4096)
        entry = make_entry("x", PASSWORD)
    return next(line for line in entry.splitlines() if line.startswith("scram"))


def policy() -> str:
    """Give a policy file: a public and a private topic of a group, and users with every kind of right."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    return f"""
[[topic]]
name = "{PUBLIC}"
archivable = true
publicly_readable = true
owning_group = "astronomers"

[[topic]]
name = "{PRIVATE}"
archivable = true
owning_group = "astronomers"

[[user]]
name = "reader"
{_keys()}
read = ["alerts.*"]

[[user]]
name = "writer"
{_keys()}
write = ["alerts.*"]

[[user]]
name = "owner"
{_keys()}
groups = ["astronomers"]

[[user]]
name = "nobody"
{_keys()}

[[user]]
name = "dave"
token_sha256 = "{digest}"
read = ["alerts.private"]
write = ["alerts.p*"]
"""


class Answer(NamedTuple):
    """What a request got."""

    status: int
    headers: Any
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """Give the body, BSON."""
        assert self.headers["Content-Type"] == "application/bson", self
        return dict(bson.decode(self.body))

    @property
    def message(self) -> str:
        """Give the text of an error."""
        assert self.headers["Content-Type"] == "application/json", self
        return str(msgspec.json.decode(self.body)["message"])


class ArchiveSite:
    """A served archive, its parts, and a client of it."""

    def __init__(self, site: Site, policy_file: Path) -> None:
        self.site = site
        self.policy_file = policy_file
        self.url = f"{site.url}/api/archive"

    async def store(self, *stored: Message, public: bool = True, packed: bool = False) -> list[ArchivedRow]:
        """Archive messages, each in an object of its own or all in one, and return their rows."""
        parts = self.site.parts
        alone = ArchiveWriter(
            parts.archived,
            parts.database,
            clock=parts.clock,
            media_types=_binary,
            public=lambda _topic: public,
        )
        writer = PackWriter(alone) if packed else alone
        outcomes = await writer.store(stored)
        assert all(outcome.stored for outcome in outcomes), outcomes
        rows = [await self.row(outcome.uuid) for outcome in outcomes]
        assert all((row.pack_offset is not None) is packed for row in rows)
        return rows

    async def row(self, uuid: UUID | None) -> ArchivedRow:
        """Return the row of a message."""
        assert uuid is not None
        row = await lookup.by_uuid(self.site.parts.database, uuid)
        assert row is not None
        return row

    async def object(self, row: ArchivedRow) -> bytes:
        """Return the object of a row as it is stored."""
        return await lookup.read_object(self.site.parts.archived, row)

    async def change(self, row: ArchivedRow, **columns: Any) -> ArchivedRow:
        """Change a row, and return it."""
        await self._write(update(messages).where(messages.c.uuid == row.uuid).values(columns))
        return await self.row(row.uuid)

    async def put_first_generation(self, payload: bytes) -> ArchivedRow:
        """Store an object of the older layout, with its row."""
        uuid = UUID("01234567-89ab-4cde-8f01-23456789abcd")
        document = bson.encode(
            {
                "message": {"format": "blob", "content": payload},
                "metadata": {"timestamp": TIME_MS, "headers": [["_id", uuid.bytes]], "topic": PUBLIC},
                "annotations": {"con_text_uuid": str(uuid), "con_is_client_uuid": True},
            }
        )
        await self.site.parts.archived.put("old/object.bson", document)
        row = {
            "topic": PUBLIC,
            "timestamp": TIME_MS,
            "uuid": uuid,
            "size": len(document),
            "key": "old/object.bson",
            "bucket": "",
            "crc32": zlib.crc32(document),
            "is_client_uuid": True,
            "public": True,
            "direct_upload": False,
            "message_crc32": zlib.crc32(payload),
            "layout": 1,
        }
        await self._write(insert(messages).values(row))
        return await self.row(uuid)

    async def _write(self, statement: Any) -> None:
        async def write(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        await self.site.parts.database.write("test", write)

    # --- requests ---

    async def ask(self, path: str, method: str = "GET", **how: Any) -> Answer:
        """Make a request below the archive's address."""
        async with self.site.client.request(method, self.url + path, **how) as response:
            return Answer(response.status, response.headers, await response.read())

    async def list(self, path: str, **query: Any) -> dict[str, Any]:
        """Ask for a list, which must come with the length it says it has."""
        params = {
            name: str(value).lower() if value in {True, False} else value for name, value in query.items()
        }
        answer = await self.ask(path, params=params)
        assert answer.status == 200, answer
        assert int(answer.headers["Content-Length"]) == len(answer.body)
        return answer.document

    async def ask_as(
        self, name: str, path: str, method: str = "GET", *, password: str = PASSWORD, **how: Any
    ) -> Answer:
        """Make a request as a user, by SCRAM as clients of the archive do it."""
        client, header, _ = await self.begin(name, path, method, password=password)
        answer = await self.ask(
            path, method, headers={"Authorization": header, **how.pop("headers", {})}, **how
        )
        info = parameters(answer.headers["Authentication-Info"])
        assert info["sid"] == parameters(header.partition(" ")[2])["sid"]
        final = base64.b64decode(info["data"]).decode()
        if final.startswith("v="):
            client.set_server_final(final)
        else:
            assert answer.status == 401
        return answer

    async def begin(
        self, name: str, path: str, method: str = "GET", *, password: str = PASSWORD
    ) -> tuple[scramp.ScramClient, str, Answer]:
        """Take the first step; return the client, the header for the second, and the challenge."""
        client = scramp.ScramClient([MECHANISM], name, password)
        first = base64.b64encode(client.get_client_first().encode()).decode()
        asked = await self.ask(
            path, method, data=b"", headers={"Authorization": f"{MECHANISM} data={first}"}
        )
        assert asked.status == 401, asked
        scheme, _, rest = asked.headers["WWW-Authenticate"].partition(" ")
        assert scheme == MECHANISM
        challenge = parameters(rest)
        client.set_server_first(base64.b64decode(challenge["data"]).decode())
        final = base64.b64encode(client.get_client_final().encode()).decode()
        return client, f"{MECHANISM} sid={challenge['sid']},data={final}", asked


def memory_bytes() -> int:
    """Return the memory of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * limits.KIB for line in lines if line.startswith("RssAnon"))


def parameters(text: str) -> dict[str, str]:
    """Read the parameters of an authentication header."""
    return dict(part.strip().split("=", 1) for part in text.split(","))


def a_message(offset: int = 0, **changes: Any) -> Message:
    """Make a message at an offset of a public topic; each has a time of its own."""
    fields: dict[str, Any] = {
        "topic": PUBLIC,
        "partition": 0,
        "offset": offset,
        "timestamp_ms": TIME_MS + offset,
        "key": b"k",
        "value": f"message {offset}".encode(),
        "headers": (("title", f"T{offset}".encode()),),
    }
    return Message(**(fields | changes))


async def _binary(blocks: Sequence[bytes]) -> list[str]:
    return ["application/octet-stream"] * len(blocks)


def _write(policy_file: Path) -> None:
    policy_file.parent.mkdir(exist_ok=True)
    policy_file.write_text(policy())


@asynccontextmanager
async def archive_site(
    folder: Path, clock: Clock | None = None, *, sections: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[ArchiveSite]:
    """Serve an archive with the users of `policy`; `settings` are of its section."""
    policy_file = folder / "policy.toml"
    await asyncio.to_thread(_write, policy_file)
    chosen = {"policy": "file", "policy_file": str(policy_file), **settings}
    async with opened(folder, clock, archive=chosen, **(sections or {})) as site:
        yield ArchiveSite(site, policy_file)
        if site.parts.settings.objects.startswith("s3"):
            for key in await site.stored_keys():
                await site.parts.objects.delete(key)


@asynccontextmanager
async def servers(request: pytest.FixtureRequest, unique: str) -> AsyncIterator[dict[str, Any]]:
    """Give the settings for database and store of one of `KINDS`; what is on servers is removed after."""
    if request.param == "embedded":
        yield {}
        return
    server = request.getfixturevalue("s3_server")
    async with postgres_schema(request.getfixturevalue("postgres_dsn")) as url:
        yield {"database": url, "objects": s3_url(server, unique)}

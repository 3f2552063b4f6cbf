"""An installation of our own on the four real servers, its workers as processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from opensearchpy import AsyncOpenSearch

from agents.run import Agents
from pipeline.app import Parts, make_parts, open_parts
from pipeline.settings import Settings, load
from pipeline.submission import submit
from tests.conftest import S3Server
from tests.databases import drop_schema
from tests.processes import Process, environment, until, write_settings
from tests.stores import s3_url

FOUR_SERVERS = (pytest.mark.kafka, pytest.mark.s3, pytest.mark.postgres, pytest.mark.opensearch)
"""Marks of a test of an installation."""
PARTITIONS = 4
SESSION_SECONDS = 6.0
"""The shortest a Kafka broker accepts unless told otherwise."""
SOURCE = "testing"
SUBMITTED_AT_ONCE = 8


class Servers(NamedTuple):
    """Where the four servers are."""

    kafka: str
    s3: S3Server
    postgres: str
    opensearch: str


class Lab:
    """One installation.

    Args:
        servers: Where its parts are.
        unique: A name nothing else on them has.
        folder: For settings, logs and data of the workers.
        settings: More of them, nested.
    """

    def __init__(
        self, servers: Servers, unique: str, folder: Path, settings: Mapping[str, Any] | None = None
    ) -> None:
        self._servers = servers
        self._unique = unique
        self._folder = folder
        self.given: dict[str, Any] = {
            "data": str(folder / "data"),
            "log": f"kafka://{servers.kafka}",
            "objects": s3_url(servers.s3, unique),
            "database": f"{servers.postgres}?schema={unique}",
            "index": f"opensearch+{servers.opensearch}",
            "kafka": {"session_seconds": SESSION_SECONDS},
            "events": {"prefix": unique, "partitions": PARTITIONS},
            "search": {"partition": unique},
            "worker": {"stats_listen": ""},
            **(settings or {}),
        }
        self.environment = environment(folder)
        self.config = write_settings(folder / "headrace.toml", self.given)
        self.settings: Settings = load(self.given, environment={"XDG_CONFIG_HOME": str(folder)}).settings

    @asynccontextmanager
    async def parts(self, *, wait: bool = False) -> AsyncIterator[Parts]:
        """Open the parts in this process, to submit and to look. No agents run here."""
        async with open_parts(make_parts(self.settings), wait=wait) as parts:
            yield parts

    @contextlib.contextmanager
    def worker(self, name: str, *arguments: str) -> Iterator[Process]:
        """Start a worker as a process; kill it when the block is left."""
        process = self.start(name, *arguments)
        try:
            yield process
        finally:
            process.kill()

    def start(self, name: str, *arguments: str) -> Process:
        """Start a worker whose data folder and log are told by its name; the caller ends it."""
        return self._start(name, "worker", *arguments)

    def api(self, name: str) -> Process:
        """Start the HTTP surface likewise; its data folder says where it listens."""
        return self._start(name, "api", "--listen", "127.0.0.1:0")

    def _start(self, name: str, command: str, *arguments: str) -> Process:
        data = str(self._folder / name)
        return Process(
            ["--config", str(self.config), command, "--data", data, *arguments],
            log=self._folder / f"{name}.log",
            environment=self.environment,
        )

    def told(self) -> str:
        """Return the ends of the logs of all workers, for the report of a failure."""
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    async def settled(
        self, parts: Parts, patience_seconds: float, agents: Sequence[str] | None = None
    ) -> None:
        """Return when these agents, or all, have nothing left to do, counted over all workers."""
        asked = Agents(parts, agents or parts.settings.worker.agents)

        async def quiet() -> bool:
            # Twice: what one agent writes last may be work for another that was asked before.
            return await asked.backlog() == 0 and await asked.backlog() == 0

        try:
            await until(quiet, patience_seconds)
        except TimeoutError:
            left = {name: await Agents(parts, (name,)).backlog() for name in asked.names}
            raise AssertionError(f"records are left: {left}\n{self.told()}") from None

    async def wipe(self) -> None:
        """Remove everything this installation made on the servers."""
        async with self.parts() as parts:
            for key in [stat.key async for stat in parts.objects.list()]:
                await parts.objects.delete(key)
            topics = [name for name in await parts.log.topics() if self._unique in name]
        await drop_schema(self._servers.postgres, self._unique)
        await remove_topics(self._servers.kafka, topics)
        await _remove_indices(self._servers.opensearch, self._unique)


async def submit_all(parts: Parts, paths: Sequence[Path]) -> list[str]:
    """Submit files, several at once, each with its path as reference; return their hashes in order.

    The reference makes each an event of its own, also when two files are the same.
    """
    room = asyncio.Semaphore(SUBMITTED_AT_ONCE)

    async def one(path: Path) -> str:
        async with room:
            answer = await submit(parts, path, source_name=SOURCE, references={"path": str(path)})
        return answer.sha256

    return list(await asyncio.gather(*map(one, paths)))


async def remove_topics(address: str, topics: list[str]) -> None:
    """Remove topics. Groups stay: aiokafka cannot delete them, the broker forgets them in time."""
    client = AIOKafkaAdminClient(bootstrap_servers=address)
    async with AsyncExitStack() as stack:
        await client.start()
        stack.push_async_callback(client.close)
        await client.delete_topics(topics)


async def _remove_indices(url: str, partition: str) -> None:
    client = AsyncOpenSearch(hosts=[url], timeout=60)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        ignore = {"ignore_unavailable": "true"}
        await client.indices.delete(index=f"azul.*.{partition}.*", params=ignore)
        await client.indices.delete_index_template(name=f"azul.{partition}.*", params={"ignore": 404})

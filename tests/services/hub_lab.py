"""A hub on the real Kafka alone: processes `headrace api` and `headrace worker` that get killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from pipeline.app import Parts, make_parts, open_parts
from pipeline.settings import load
from pipeline.web import presence
from tests.processes import Process, environment, resident_bytes, until, write_settings
from tests.services.lab import PARTITIONS, SESSION_SECONDS, remove_topics

APIS = ("api-1", "api-2")
WORKERS = ("worker-1", "worker-2")


class HubLab:
    """One installation whose log is in Kafka; its processes share nothing else.

    Args:
        kafka: Address of the server.
        unique: A name nothing else on it has.
        folder: For settings, logs and data of the processes.
        settings: More of them, nested.
    """

    def __init__(self, kafka: str, unique: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        given = {
            "data": str(folder / "data"),
            "log": f"kafka://{kafka}",
            "kafka": {"session_seconds": SESSION_SECONDS},
            "events": {"prefix": unique, "partitions": PARTITIONS},
            "worker": {"stats_listen": ""},
            **settings,
        }
        self._environment = environment(folder)
        self._config = write_settings(folder / "headrace.toml", given)
        self._settings = load(given, environment={"XDG_CONFIG_HOME": str(folder)}).settings
        self._processes: dict[str, Process] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._urls: dict[str, str] = {}
        self.memory_bytes: dict[str, int] = {}
        """The most each process was seen to hold."""

    @property
    def prefix(self) -> str:
        """Of the topics."""
        return self._settings.events.prefix

    @asynccontextmanager
    async def parts(self) -> AsyncIterator[Parts]:
        """Open the parts in this process, to look. Nothing else runs here."""
        async with open_parts(make_parts(self._settings)) as parts:
            yield parts

    async def start(self, name: str) -> None:
        """Start a process, an `api` or a `worker` as its name begins; return when an api listens."""
        self._start(name)
        await self._starting[name]

    async def kill(self, name: str) -> None:
        """End a process as a power cut would and start it again; it does not work yet on return."""
        self.look()
        self._urls.pop(name, None)
        self._starting.pop(name).cancel()
        await asyncio.to_thread(self._processes[name].kill)
        self._start(name)

    def _start(self, name: str) -> None:
        api = name in APIS
        command = ["api", "--listen", "127.0.0.1:0"] if api else ["worker", "--agents", "track"]
        self._processes[name] = process = Process(
            ["--config", str(self._config), *command, "--data", str(self._folder / name)],
            log=self._folder / f"{name}.log",
            environment=self._environment,
        )
        self._starting[name] = asyncio.create_task(
            self._listening(name, process) if api else asyncio.sleep(0)
        )

    async def _listening(self, name: str, process: Process) -> None:
        def announced() -> bool:
            assert process.running, process.told()[-4000:]
            note = presence.find(self._folder / name)
            return note is not None and note.pid == process.pid

        await until(announced)
        note = presence.find(self._folder / name)
        assert note is not None
        self._urls[name] = note.url

    def url(self, name: str) -> str | None:
        """Return where an api process listens, None while it does not."""
        return self._urls.get(name)

    def end(self) -> None:
        """Kill all processes."""
        for starting in self._starting.values():
            starting.cancel()
        for process in self._processes.values():
            process.kill()

    def look(self) -> None:
        """Note how much memory each process has now; all must be running."""
        for name, process in self._processes.items():
            assert process.running, f"{name} has ended:\n{process.told()[-4000:]}"
            held = resident_bytes(process.pid)
            self.memory_bytes[name] = max(self.memory_bytes.get(name, 0), held)

    def told(self) -> str:
        """Return the ends of the logs of all processes, for the report of a failure."""
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)


@asynccontextmanager
async def hub_labs(kafka: str, unique: str, folder: Path) -> AsyncIterator[Callable[..., HubLab]]:
    """Give a maker of an installation that takes settings; its processes and topics are removed at last."""
    made: list[HubLab] = []

    def make(**settings: Any) -> HubLab:
        made.append(HubLab(kafka, unique, folder, settings))
        return made[-1]

    async with AsyncExitStack() as stack:
        yield make
        for lab in made:
            lab.end()
            parts = await stack.enter_async_context(lab.parts())
            topics = [name for name in await parts.log.topics() if unique in name]
            await remove_topics(kafka, topics)

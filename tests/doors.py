"""A door before a real server: it can be shut, slammed on who is passing, and lose an answer."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress


class Door:
    """A TCP port of this machine that leads to a server while it is open."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.silent = False
        """While set, connections are taken and never answered."""
        self.lose_answer_to = b""
        """The next request with these bytes reaches the server; its connection is cut at the answer."""
        self.lost = asyncio.Event()
        """Set when an answer was lost."""
        self.replaced = (b"", b"")
        """Bytes of answers and what stands in their place, of the same length: for servers that tell their
        own address, where the door's must be told."""
        self.tls: ssl.SSLContext | None = None
        """Set before `open`: the door speaks TLS, the server behind it does not."""
        self.passed_bytes = 0
        """Bytes passed from clients to the server."""

    async def open(self) -> None:
        """Lead to the server, on the same port each time."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse connections and cut those there are."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self.slam()

    async def slam(self) -> None:
        """Cut the connections there are."""
        for writer in self._writers:
            writer.transport.abort()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._lead(reader, writer)
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            await asyncio.Event().wait()
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        self._writers.add(server_writer)
        losing = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_requests(reader, server_writer, losing))
                both.create_task(self._pass_answers(server_reader, writer, losing))
        except* OSError:
            pass
        finally:
            self._writers.discard(server_writer)
            server_writer.transport.abort()

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if self.lose_answer_to and self.lose_answer_to in data:
                self.lose_answer_to = b""
                losing.set()
            self.passed_bytes += len(data)
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _pass_answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if losing.is_set():
                self.lost.set()
                break
            if self.replaced[0]:
                data = data.replace(*self.replaced)
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

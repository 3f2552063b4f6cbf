"""A wire to a server that can be cut at a chosen moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Wire:
    """Forwards connections to a server and cuts all of them at one of the client's messages.

    `cut_at` is the number of the client's message to cut at, 0 for never. With `deliver` the server still
    gets that message, so it may act on it, and only its answer is lost.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._carried: set[asyncio.Task[None]] = set()
        self.seen = 0
        self.cut_at = 0
        self.deliver = False

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side closes it or the wire is cut."""
        task = asyncio.current_task()
        assert task is not None
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, server_writer}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carry(reader, server_writer, from_client=True))
            group.create_task(self._carry(server_reader, writer, from_client=False))
        for each in (writer, server_writer):
            each.close()
            self._writers.discard(each)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool
    ) -> None:
        try:
            while data := await reader.read(1 << 20):
                self.seen += from_client
                if from_client and self.seen == self.cut_at:
                    if self.deliver:
                        writer.write(data)
                        writer.close()
                    self.cut(but=writer if self.deliver else None)
                    return
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()

    async def idle(self) -> None:
        """Return when no connection is left."""
        while self._carried:
            await asyncio.wait(self._carried)

    def cut(self, but: asyncio.StreamWriter | None = None) -> None:
        """Cut every connection there is."""
        for writer in list(self._writers):
            if writer is not but:
                writer.transport.abort()


@asynccontextmanager
async def wire_to(host: str, port: int) -> AsyncIterator[tuple[Wire, int]]:
    """Give a wire to a server and the local port that leads into it."""
    wire = Wire(host, port)
    listener = await asyncio.start_server(wire.connected, "127.0.0.1", 0)
    async with listener:
        yield wire, listener.sockets[0].getsockname()[1]
        listener.close()
        wire.cut()
        await wire.idle()

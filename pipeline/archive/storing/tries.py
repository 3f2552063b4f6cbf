"""How often messages were tried in vain, kept in a small file so that a restart does not forget it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from pipeline.errors import Unavailable
from pipeline.log.port import TopicPartition

_Counts = dict[str, dict[int, int]]


class Tries:
    """Counts tries by where a group of records begins.

    Needed only where the number of tries is limited. After a restart records may be grouped otherwise: a
    group inherits the highest count of those that began within it.

    Args:
        file: Where the counts are kept; its folder is made.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._turn = asyncio.Lock()
        self._counts: _Counts | None = None

    async def failed(self, place: TopicPartition, first: int, last: int) -> int:
        """Count one more try of the records between two offsets, and say how many there were."""
        async with self._turn:
            counts = (await self._all()).setdefault(f"{place.topic}/{place.partition}", {})
            inside = [offset for offset in counts if first <= offset <= last]
            tries = 1 + max((counts.pop(offset) for offset in inside), default=0)
            counts[first] = tries
            await self._save()
        return tries

    async def settled(self, place: TopicPartition, first: int, last: int) -> None:
        """Forget the tries of the records between two offsets."""
        async with self._turn:
            name = f"{place.topic}/{place.partition}"
            counts = (await self._all()).get(name, {})
            inside = [offset for offset in counts if first <= offset <= last]
            for offset in inside:
                del counts[offset]
            if inside:
                await self._save()

    async def _all(self) -> _Counts:
        if self._counts is None:
            self._counts = await asyncio.to_thread(self._read)
        return self._counts

    def _read(self) -> _Counts:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Counts)
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError:
            return {}  # Torn or foreign: counting begins anew, nothing is lost by that.

    async def _save(self) -> None:
        counts = {name: each for name, each in (await self._all()).items() if each}
        try:
            await asyncio.to_thread(self._write, msgspec.json.encode(counts))
        except OSError as error:
            raise Unavailable(f"note tries in {self._file}", str(error)) from error

    def _write(self, data: bytes) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._file.with_suffix(".new")
        unfinished.write_bytes(data)
        unfinished.replace(self._file)

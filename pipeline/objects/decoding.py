"""Reading the content of a stream out of its stored form."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator

from pipeline import limits
from pipeline.errors import Damaged
from pipeline.objects import ranges
from pipeline.objects.forms import Coder, Form, open_header
from pipeline.objects.port import Download, Stat
from pipeline.objects.threads import in_thread


class Decoding:
    """The content, or a range of it, while its stored form arrives.

    Args:
        stat: The stream, its size being that of the content.
        cut: What of the content is delivered.
        stored: The stored bytes, from their start, or from those of the first byte delivered.
        form: The form they are in.
        aes_key: Their key.
        header: Salt and counter, when `stored` does not begin with them.
        sha256: What the content must hash to when it is delivered whole; empty: it is not checked.
    """

    def __init__(
        self,
        stat: Stat,
        cut: ranges.Cut,
        stored: Download,
        form: Form,
        aes_key: bytes,
        *,
        header: bytes | None = None,
        sha256: str = "",
    ) -> None:
        self.stat = stat
        self.first, self.length_bytes = cut
        self._stored = stored
        self._form = form
        self._aes_key = aes_key
        self._header = header
        self._sha256 = sha256 if self.length_bytes == stat.size_bytes else ""
        self._hash = hashlib.sha256()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes; once.

        Raises:
            Damaged: The whole content has another hash than its name says. The last chunk is kept back, so
                that nobody takes what came before for the whole.
        """
        stored = aiter(self._stored)
        try:
            head = b"" if self._header is not None else await self._read_head(stored)
            coder = Coder(self._form, self._aes_key, self._header or b"", self.first)
            done_bytes = 0
            async for chunk in _with_head(head, stored):
                content = await self._turn(coder, chunk)
                done_bytes += len(content)
                if done_bytes == self.length_bytes:
                    self._check()
                yield content
        finally:
            if isinstance(stored, AsyncGenerator):
                await stored.aclose()

    async def _read_head(self, stored: AsyncIterator[bytes]) -> bytes:
        """Read the header and what lies before the range; return the content that came with them."""
        header_bytes = self._form.header_bytes
        skipped_bytes = header_bytes + self.first - self._stored.first
        head = b""
        async for chunk in stored:
            head += chunk
            if len(head) >= skipped_bytes:
                break
        self._header = open_header(self._form, head[:header_bytes])
        return head[skipped_bytes:]

    async def _turn(self, coder: Coder, chunk: bytes) -> bytes:
        if len(chunk) <= limits.HASH_INLINE_BYTES:
            return self._turn_now(coder, chunk)
        return await in_thread(self._turn_now, coder, chunk)

    def _turn_now(self, coder: Coder, chunk: bytes) -> bytes:
        content = coder.turn(chunk)
        if self._sha256:
            self._hash.update(content)
        return content

    def _check(self) -> None:
        if self._sha256 and self._hash.hexdigest() != self._sha256:
            why = "its bytes are not those its name stands for"
            raise Damaged(
                f"read {self.stat.key}", why, "see whether streams.aes_key is the key it was stored with"
            )


async def _with_head(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if head:
        yield head
    async for chunk in rest:
        yield chunk

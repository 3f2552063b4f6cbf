"""Streams encoded at rest: an object store over another, which holds them XORed, encrypted, or both.

Contract: dispatcher section 18. Only streams (``<source>/<label>/<sha256>``) are encoded; archived and
other objects stay as they are, because other systems read them. Sizes, ranges, metadata and listings are
those of the content. The forms of one stream hold the same content, since its hash is its name; so storing
it anew in the preferred form leaves the other forms alone: a process with other settings may be relying on
them, and two that tidied up after each other could remove the last one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from pipeline import limits
from pipeline.errors import BadInput, Conflict, Damaged, NotFound, Unavailable
from pipeline.objects import keys, ranges, sources
from pipeline.objects.decoding import Decoding
from pipeline.objects.drafts import SpooledDraft, spooled_draft
from pipeline.objects.forms import FORMS, PLAIN, Coder, Form, new_header, open_header, seal_header
from pipeline.objects.port import Download, ObjectStore, Stat
from pipeline.objects.scratch import Scratch
from pipeline.objects.spool import spooled
from pipeline.objects.threads import Threads, in_thread


class EncodedStore:
    """Streams in one of several forms over a store of bytes as they are.

    Args:
        inner: Holds the forms, and everything else.
        forms: What is read, preferred first; the first is what is written (`forms.readable_forms`).
        spool: Folder for local copies, which are not encoded, while they are needed.
        aes_key: The key of encrypted forms.
        check_content: Whether whole encrypted streams are compared with the hash in their name when they
            are read, without which a wrong key gives wrong bytes. Off only where names are no hashes.
    """

    def __init__(
        self,
        inner: ObjectStore,
        forms: Sequence[Form],
        spool: Path,
        *,
        aes_key: bytes = b"",
        check_content: bool = True,
    ) -> None:
        self._inner = inner
        self._forms = tuple(forms)
        self._aes_key = aes_key
        self._check_content = check_content
        self._scratch = Scratch(spool)
        self._threads = Threads("encoded store", 1)

    async def open(self) -> None:
        """Open the store below."""
        self._threads.open()
        await self._threads.run(self._scratch.open)
        await self._inner.open()

    async def close(self) -> None:
        """Close the store below and remove local copies; safe to repeat."""
        await self._inner.close()
        if self._threads.is_open:
            await self._threads.run(self._scratch.close)
        await self._threads.close()

    # --- writing ---

    async def put(
        self,
        key: str,
        source: sources.Source,
        *,
        only_if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Stat:
        """Store an object, a stream in the preferred form; see the port."""
        form, others = self._written(key)
        if only_if_absent and await self._first_stat(key, others):
            raise Conflict(f"store {key}", "there is one already")
        if form != PLAIN:
            source = await self._encoded(form, key, source)
        stored = await self._inner.put(
            form.key(key), source, only_if_absent=only_if_absent, metadata=metadata
        )
        return _content_stat(key, form, stored)

    def _written(self, key: str) -> tuple[Form, tuple[Form, ...]]:
        """Return the form an object is written in, and those it may be there in already."""
        return (self._forms[0], self._forms[1:]) if keys.is_stream(key) else (PLAIN, ())

    async def _encoded(self, form: Form, key: str, source: sources.Source) -> sources.Source:
        header = new_header(self._aes_key, key.rpartition("/")[2]) if form.aes else b""
        coder = Coder(form, self._aes_key, header)
        head = seal_header(form, header)
        data = await sources.gather(source, limits.OBJECT_BATCH_BYTES)
        if isinstance(data, bytes):
            return head + await _turned(coder, data)
        return _encoding(coder, head, data)

    def draft(self) -> AbstractAsyncContextManager[SpooledDraft]:
        """Start an object whose key is not known yet, on local disk and not encoded until then."""
        return spooled_draft(self, self._scratch, self._threads)

    async def delete(self, key: str, *, older_than: dt.datetime | None = None) -> bool:
        """Remove an object in all its forms, also those that are not read; True when one was removed.

        With `older_than` nothing is removed while one form is younger.
        """
        stored = [form.key(key) for form in (FORMS if keys.is_stream(key) else (PLAIN,))]
        if older_than is not None and len(stored) > 1:
            found = [await self._inner.stat(each) for each in stored]
            if any(each.modified >= older_than for each in found if each):
                return False
        # A crash on the way leaves some forms, each of them whole; deleting again removes them.
        return any([await self._inner.delete(each, older_than=older_than) for each in stored])

    async def copy(self, source_key: str, target_key: str) -> None:
        """Copy a stream in the form it is stored in; see the port."""
        keys.check(target_key)
        if keys.is_stream(source_key) != keys.is_stream(target_key):
            content = await self.get(source_key)
            await self.put(target_key, content, metadata=content.stat.metadata)
            return None
        for form in self._read_forms(source_key):
            try:
                return await self._inner.copy(form.key(source_key), form.key(target_key))
            except NotFound:
                continue
        raise NotFound(f"copy {source_key}")

    # --- reading ---

    def _read_forms(self, key: str) -> tuple[Form, ...]:
        return self._forms if keys.is_stream(key) else (PLAIN,)

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> Download:
        """Open an object or a range of it.

        Raises:
            Damaged: It is too short for its form. Reading it to its end raises this for a wrong key.
        """
        ranges.check(key, first, last)
        for form in self._read_forms(key):
            try:
                return await self._open(key, form, first, last)
            except NotFound:
                continue
        raise NotFound(f"read {key}")

    async def _open(self, key: str, form: Form, first: int, last: int | None) -> Download:
        """Open a stream in one form; raises `NotFound` when it is not there in that form."""
        if form == PLAIN:
            return await self._inner.get(key, first=first, last=last)
        stored_last = None if last is None else last + form.header_bytes
        if first <= limits.CHUNK_BYTES or not form.aes:
            # Reading what lies between costs less than a second request for the header.
            stored_first = 0 if form.aes else first
            stored = await self._get(key, form, stored_first, stored_last)
            header = None if form.aes else b""
        else:
            stored, header = await self._get_with_header(key, form, first, stored_last)
        stat = _content_stat(key, form, stored.stat)
        cut = ranges.cut(key, first, last, stat.size_bytes)
        sha256 = key.rpartition("/")[2] if form.aes and self._check_content else ""
        return Decoding(stat, cut, stored, form, self._aes_key, header=header, sha256=sha256)

    async def _get(self, key: str, form: Form, first: int, last: int | None) -> Download:
        """Open stored bytes; a range behind the end is refused in terms of the content."""
        try:
            return await self._inner.get(form.key(key), first=first, last=last)
        except BadInput:
            found = await self._inner.stat(form.key(key))
            if found is None:
                raise NotFound(f"read {key}") from None
            ranges.cut(key, first - form.header_bytes, None, _content_stat(key, form, found).size_bytes)
            raise Unavailable(f"read {key}", "it changed while it was opened", "try again") from None

    async def _get_with_header(
        self, key: str, form: Form, first: int, stored_last: int | None
    ) -> tuple[Download, bytes]:
        """Open a range and read the header that belongs to it.

        Another writer's header may be a different one, so both must be of the same writing.
        """
        for _ in range(limits.CALL_ATTEMPTS):
            stored = await self._get(key, form, first + form.header_bytes, stored_last)
            header = await self._inner.get(form.key(key), last=form.header_bytes - 1)
            if header.stat.modified == stored.stat.modified:
                return stored, open_header(form, b"".join([chunk async for chunk in header]))
        raise Unavailable(f"read {key}", "it is being replaced again and again", "try again")

    @asynccontextmanager
    async def file(self, key: str, *, content: bytes | None = None) -> AsyncIterator[Path]:
        """Give the object as a local file: the store's own when it is not encoded, else a decoded copy."""
        source: Download | tuple[bytes] | None
        if content is None:
            source = await self._decoding(key)
        else:  # it was stored just now, so in the preferred form
            source = None if self._written(key)[0] == PLAIN else (content,)
        if source is None:
            async with self._inner.file(key, content=content) as path:
                yield path
        else:
            async with spooled(source, self._scratch, self._threads) as path:
                yield path

    async def _decoding(self, key: str) -> Download | None:
        """Open the first encoded form of a stream; None when the unencoded one comes first."""
        *before, last = self._read_forms(key)
        for form in before:
            if form == PLAIN:
                if await self._inner.stat(key) is not None:
                    return None
                continue
            try:
                return await self._open(key, form, 0, None)
            except NotFound:
                continue
        return None if last == PLAIN else await self._open(key, last, 0, None)

    async def stat(self, key: str) -> Stat | None:
        """Return what is known about a key, None when there is no object."""
        return await self._first_stat(key, self._read_forms(key))

    async def _first_stat(self, key: str, forms: Sequence[Form]) -> Stat | None:
        for form in forms:
            found = await self._inner.stat(form.key(key))
            if found is not None:
                return _content_stat(key, form, found)
        return None

    async def list(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield every object whose key starts with the prefix, without its metadata.

        A stream stored in several forms comes once; whether it is stored in a preferred form too is looked
        up for those found in another.
        """
        async for stored in self._inner.list(prefix):
            key, form = self._content_key(stored)
            preferred = self._read_forms(key)[: self._read_forms(key).index(form)]
            if key.startswith(prefix) and not await self._first_stat(key, preferred):
                yield _content_stat(key, form, stored)

    def _content_key(self, stored: Stat) -> tuple[str, Form]:
        """Return which stream is stored in which form; a form that is not read is an object of its own."""
        for form in self._forms:
            key = stored.key.removesuffix(form.ending)
            if (
                keys.is_stream(key)
                and form.key(key) == stored.key
                and stored.size_bytes >= form.header_bytes
            ):
                return key, form
        return stored.key, PLAIN


def _content_stat(key: str, form: Form, stored: Stat) -> Stat:
    size_bytes = stored.size_bytes - form.header_bytes
    if size_bytes < 0:
        raise Damaged(f"read {key}", f"its {stored.size_bytes} stored bytes are no encrypted object")
    return replace(stored, key=key, size_bytes=size_bytes)


async def _encoding(
    coder: Coder, head: bytes, data: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(data):
        if head:
            yield head
        async for block in data:
            yield await _turned(coder, block)


async def _turned(coder: Coder, data: bytes) -> bytes:
    if len(data) <= limits.HASH_INLINE_BYTES:
        return coder.turn(data)
    return await in_thread(coder.turn, data)

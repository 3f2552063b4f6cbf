"""CaRT as streams, against the package that is the reference (metastore contract, 7.2, 21, 23.1)."""

from __future__ import annotations

import io
import random
from collections.abc import AsyncIterator
from typing import Any

import cart.cart as reference
import pytest

from pipeline import limits
from pipeline.errors import BadInput, TooLarge
from pipeline.objects.memory import MemoryStore
from pipeline.objects.neuter import is_cart, pack, unpack
from tests.stores import bytes_of, pieces

SIZES = [0, 1, 65_535, 65_537, limits.OBJECT_BATCH_BYTES, 3 * limits.OBJECT_BATCH_BYTES + 1]
HELLO = bytes.fromhex(
    "4341525401000000000000000000030104010509020603010401050902060000000000000000"
    "c1870075f379a8ca5b137aa6145452414300000000000000003300000000000000"
    "0000000000000000"
)


async def _all(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def _unpacked(packed: bytes) -> bytes:
    return b"".join([chunk async for chunk in await unpack(pieces(packed))])


def _reference_pack(data: bytes, **options: Any) -> bytes:
    packed = io.BytesIO()
    reference.pack_stream(io.BytesIO(data), packed, **options)
    return packed.getvalue()


def _reference_unpack(packed: bytes) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    plain = io.BytesIO()
    header, footer = reference.unpack_stream(io.BytesIO(packed), plain)
    return plain.getvalue(), header, footer


async def test_a_download_has_exactly_the_agreed_bytes() -> None:
    assert await _all(pack(b"hello")) == HELLO
    assert len(await _all(pack(b""))) == 74
    assert len(await _all(pack(b"hello", header={"name": "a.txt"}, digests=True))) == 276


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_the_reference_reads_what_we_pack(size_bytes: int) -> None:
    data = bytes_of(size_bytes)
    header = {"name": "ä.txt", "b": [1, 2]}
    packed = await _all(pack(pieces(data), header=header, digests=True))
    plain, read_header, footer = _reference_unpack(packed)
    assert (plain, read_header) == (data, header)
    assert footer == _reference_unpack(_reference_pack(data))[2]
    assert is_cart(packed[:38])


@pytest.mark.parametrize("data", [b"", b"x", bytes(10_000_000), bytes_of(1_500_000)])
@pytest.mark.parametrize("options", [{}, {"optional_header": {"name": "x"}}, {"auto_digests": ()}])
async def test_we_read_what_the_reference_packs(data: bytes, options: dict[str, Any]) -> None:
    packed = _reference_pack(data, **options)
    unpacked = await unpack(pieces(packed))
    assert unpacked.header == options.get("optional_header", {})
    chunks = [chunk async for chunk in unpacked]
    assert b"".join(chunks) == data
    assert all(len(chunk) <= limits.CHUNK_BYTES for chunk in chunks)


async def test_another_key_in_the_header_is_used_and_a_private_one_is_refused() -> None:
    key = bytes(range(16))
    private = _reference_pack(b"hello", arc4_key_override=key)
    named = private[:14] + key + private[30:]
    assert await _unpacked(named) == b"hello"
    with pytest.raises(BadInput, match="key"):
        await _unpacked(private)


async def test_a_cut_file_is_never_taken_for_a_whole_one() -> None:
    packed = await _all(pack(bytes_of(100), header={"name": "x"}, digests=True))
    for length in range(len(packed)):
        with pytest.raises(BadInput):
            await _unpacked(packed[:length])


async def test_a_changed_file_never_gives_other_bytes() -> None:
    """One byte is changed, everywhere: the reading fails, or gives the same bytes."""
    data = bytes_of(100)
    packed = await _all(pack(data, header={"name": "x"}, digests=True))
    for position in range(len(packed)):
        changed = bytearray(packed)
        changed[position] ^= 0x55
        try:
            plain = await _unpacked(bytes(changed))
        except BadInput:
            continue
        assert plain == data


@pytest.mark.parametrize("field", [-28, -20, -12, -4])
async def test_a_footer_that_does_not_fit_is_refused(field: int) -> None:
    """Magic, reserved field, position and length of the footer, each changed by one."""
    changed = bytearray(HELLO)
    changed[field] ^= 1
    with pytest.raises(BadInput, match="footer"):
        await _unpacked(bytes(changed))


@pytest.mark.parametrize(
    "footer",
    [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"sha1": "0" * 40}, {"length": "6"}, {"length": None}],
)
async def test_bytes_that_do_not_fit_their_digests_are_refused(footer: dict[str, Any]) -> None:
    packed = _reference_pack(b"hello", optional_footer=footer, auto_digests=())
    with pytest.raises(BadInput, match=next(iter(footer))):
        await _unpacked(packed)


async def test_digests_may_be_in_capitals_and_others_are_let_be() -> None:
    footer = {"md5": "5D41402ABC4B2A76B9719D911017C592", "crc": "1"}
    assert await _unpacked(_reference_pack(b"hello", optional_footer=footer, auto_digests=())) == b"hello"


async def test_bytes_behind_the_end_are_refused() -> None:
    packed = await _all(pack(b"hello"))
    for added_bytes in (1, 200_000, 3_000_000):
        with pytest.raises(BadInput):
            await _unpacked(packed + bytes(added_bytes))


async def test_noise_is_refused() -> None:
    chance = random.Random(1)  # noqa: S311 - the same noise each time
    for length in (0, 5, 38, 74, 1000):
        noise = chance.randbytes(length)
        assert not is_cart(noise)
        with pytest.raises(BadInput):
            await _unpacked(noise)
        with pytest.raises(BadInput):
            await _unpacked(HELLO[:38] + noise)


async def test_a_bomb_is_stopped_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = await _all(pack(bytes(20 * limits.MIB)))
    assert len(packed) < limits.MIB
    monkeypatch.setattr(limits, "OBJECT_MAX_BYTES", 10 * limits.MIB)
    with pytest.raises(TooLarge):
        await _unpacked(packed)


async def test_a_header_too_long_is_refused_both_ways() -> None:
    header = {"name": "x" * limits.CART_HEADER_MAX_BYTES}
    with pytest.raises(TooLarge):
        await _all(pack(b"x", header=header))
    with pytest.raises(BadInput):
        await _unpacked(_reference_pack(b"x", optional_header=header))


async def test_a_damaged_file_put_into_a_store_leaves_nothing(tmp_path: Any) -> None:
    packed = _reference_pack(bytes_of(3_000_000))
    store = MemoryStore(tmp_path)
    await store.open()
    with pytest.raises(BadInput):
        await store.put("a/b", await unpack(packed[:-10]))
    assert await store.stat("a/b") is None
    await store.put("a/b", await unpack(packed))
    await store.close()

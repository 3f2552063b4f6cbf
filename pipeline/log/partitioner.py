"""Which partition a key belongs to: the answer Kafka's default partitioner gives.

Both logs place records alike, so data can be moved from one to the other without changing order.
"""

from __future__ import annotations

import struct

_MIX = 0x5BD1E995
_SEED = 0x9747B28C
_WORD = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 of `data` with Kafka's seed."""
    length = len(data)
    words = length // 4
    result = _SEED ^ length
    for word in struct.unpack_from(f"<{words}I", data):
        mixed = word * _MIX & _WORD
        result = (result * _MIX & _WORD) ^ ((mixed ^ mixed >> 24) * _MIX & _WORD)
    if rest := data[words * 4 :]:
        result = (result ^ int.from_bytes(rest, "little")) * _MIX & _WORD
    result = (result ^ result >> 13) * _MIX & _WORD
    return result ^ result >> 15


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition of `key` in a topic of that many partitions."""
    if partitions == 1:
        return 0
    return (murmur2(key) & 0x7FFFFFFF) % partitions

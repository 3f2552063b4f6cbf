"""Our partitioner must give Kafka's answers: data moved between logs stays in order by key."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from pipeline.log.partitioner import murmur2, partition_for


@given(st.binary(max_size=200))
def test_the_hash_is_kafkas(data: bytes) -> None:
    assert murmur2(data) == reference(data)


@given(st.binary(max_size=60), st.integers(1, 300))
def test_the_partition_is_kafkas(key: bytes, partitions: int) -> None:
    numbers = list(range(partitions))
    assert partition_for(key, partitions) == DefaultPartitioner()(key, numbers, numbers)


@pytest.mark.parametrize(
    ("key", "expected"),
    # Published by Kafka's own tests of its Java client (UtilsTest, murmur2).
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)],
)
def test_the_hash_is_that_of_the_java_client(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF

"""Records only a raw request can write: Kafka takes headers whose names are not UTF-8, clients do not."""

from __future__ import annotations

import struct
from typing import Any

from aiokafka import AIOKafkaClient, TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from pipeline.log.connection import KafkaConnection, client_arguments

ODD_NAME = b"\xff\xfe\x80odd"
_STANDS_IN = "?" * len(ODD_NAME)
_CHECKSUM_AT, _CHECKED_FROM = 17, 21


async def append_odd(
    connection: KafkaConnection,
    topic: str,
    values: list[bytes | None],
    *,
    odd: int,
    start_ms: int,
    partition: int = 0,
) -> None:
    """Append values in one batch; the record at index `odd` has a header whose name is `ODD_NAME`.

    Their times are `start_ms` and the milliseconds after it.
    """
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1_000_000,
    )
    for index, value in enumerate(values):
        headers = [("plain", b"1"), (_STANDS_IN, None)] if index == odd else []
        builder.append(index, timestamp=start_ms + index, key=b"k", value=value, headers=headers)
    batch = bytearray(bytes(builder.build()).replace(_STANDS_IN.encode(), ODD_NAME))
    struct.pack_into(">I", batch, _CHECKSUM_AT, calc_crc32c(bytes(batch[_CHECKED_FROM:])))
    await _produce(connection, topic, partition, bytes(batch))


async def _produce(connection: KafkaConnection, topic: str, partition: int, batch: bytes) -> None:
    client: Any = AIOKafkaClient(**client_arguments(connection))
    await client.bootstrap()
    try:
        await client.add_topic(topic)
        node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        answer = await client.send(node, ProduceRequest(None, -1, 10_000, [(topic, [(partition, batch)])]))
        ((_, ((_, code, *_),)),) = answer.topics
        assert code == 0, answer
    finally:
        await client.close()

"""A process that appends to an embedded log and prints what was acknowledged, until it is killed.

    python -m tests.faults.appender FOLDER SEED

Each line is printed after the fact it tells: ``partition offset value`` or ``commit offset``.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.port import NewRecord, TopicPartition, TopicSpec

TOPIC = "killed"
PARTITIONS = 3


async def main(folder: Path, seed: int) -> None:
    """Append from several tasks at once; never returns."""
    log = EmbeddedLog(folder)
    await log.open()
    await log.create_topics([TopicSpec(TOPIC, PARTITIONS, config={"segment.bytes": "20000"})])
    print("open", flush=True)  # noqa: T201 - the parent waits for it
    await asyncio.gather(*(_append(log, random.Random(seed * 10 + n)) for n in range(4)))  # noqa: S311


async def _append(log: EmbeddedLog, chance: random.Random) -> None:
    while True:
        new = [
            NewRecord(TOPIC, None, chance.randbytes(chance.randint(1, 200)), partition=chance.randrange(3))
            for _ in range(chance.randint(1, 10))
        ]
        placed = await log.append(new)
        lines = [
            f"{place.partition} {place.offset} {(record.value or b'').hex()}"
            for place, record in zip(placed, new, strict=True)
        ]
        if chance.random() < 0.1:
            last = placed[-1]
            await log.commit(
                f"group-{last.partition}", {TopicPartition(TOPIC, last.partition): last.offset}
            )
            lines.append(f"commit {last.partition} {last.offset}")
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))

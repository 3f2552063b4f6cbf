"""A worker that the tests kill: one agent that keeps a table of the highest number seen for each key.

Started as ``python -m tests.contract.transport_worker BROKER GROUP TOPIC PARTITIONS FOLDER``. Prints one
line for each batch it acknowledged, and stops cleanly when its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.log.transport.app import create_app
from pipeline.log.transport.batch import Batch


def add_agent(app: Any, topic: str, acknowledged: Callable[[Batch], None] = lambda _: None) -> Any:
    """Give an app the table and the agent; return the table."""
    table = app.Table("highest")

    async def work(stream: Any) -> None:
        async for batch in stream.batches(max_records=20):
            for record in batch.records:
                if int(record.value or b"") > int(table.get(record.key, b"-1")):
                    table.put(record.key, record.value, partition=record.partition)
            await table.flushed()
            batch.acknowledge()
            acknowledged(batch)

    app.agent(app.source(topic), name="work")(work)
    return table


def _tell(batch: Batch) -> None:
    sys.stdout.write(f"{batch.partition} {batch.records[-1].offset}\n")
    sys.stdout.flush()


async def main(broker: str, group: str, topic: str, partitions: int, folder: Path) -> None:
    """Work until the other side closes our standard input."""
    app = create_app(
        group,
        broker,
        data_folder=folder,
        partitions=partitions,
        broker_commit_interval=0.05,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=0.5,
    )
    add_agent(app, topic, _tell)
    stop = asyncio.Event()
    waiting = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    waiting.add_done_callback(lambda _: stop.set())
    await app.run(stop)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), Path(sys.argv[5])))

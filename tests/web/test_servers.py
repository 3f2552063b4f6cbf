"""The same surface over the real servers: four settings differ, nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import AsyncOpenSearch

from tests.conftest import S3Server
from tests.databases import postgres_schema
from tests.stores import s3_url
from tests.web.site import PAGE, Site, opened, sha256, task

pytestmark = [pytest.mark.kafka, pytest.mark.s3, pytest.mark.postgres, pytest.mark.opensearch]


@pytest.fixture
def log_and_objects(unique: str, kafka_address: str, s3_server: S3Server) -> dict[str, Any]:
    """Give the settings that name Kafka and S3."""
    return {"log": f"kafka://{kafka_address}", "objects": s3_url(s3_server, unique)}


@pytest.fixture
async def servers(
    tmp_path: Path,
    unique: str,
    postgres_dsn: str,
    opensearch_url: str,
    log_and_objects: dict[str, Any],
) -> AsyncIterator[Site]:
    """Give an installation on the real servers; what it made on them is removed afterwards."""
    async with postgres_schema(postgres_dsn) as database:
        try:
            async with opened(
                tmp_path,
                **log_and_objects,
                database=database,
                index="opensearch+" + opensearch_url,
                events={"prefix": unique},
                search={"partition": unique},
            ) as site:
                yield site
                for key in await site.stored_keys():
                    await site.parts.objects.delete(key)
        finally:
            async with AsyncOpenSearch([opensearch_url]) as cleaner:
                await cleaner.indices.delete(index=f"azul.*.{unique}.*")
                await cleaner.indices.delete_index_template(name=f"azul.{unique}.*", ignore=[404])


async def test_a_file_goes_its_whole_way_over_the_real_servers(servers: Site) -> None:
    data = bytes(range(256)) * 40_000
    answer = await servers.json(
        "/api/objects?filename=big.bin", method="POST", status=201, data=_chunks(data)
    )
    assert answer["sha256"] == sha256(data)
    await servers.index_events()
    await servers.archive_events()
    await servers.make_tables()
    await servers.put_tasks([task(1)])
    [record] = await servers.sourced()
    entry = await servers.park(record, "to be replayed")

    content = f"{servers.url}/api/objects/{answer['sha256']}/content?format=raw"
    async with servers.client.get(content, headers={"Range": "bytes=9000000-9000999"}) as response:
        assert await response.read() == data[9_000_000:9_001_000]
    async with servers.client.get(content) as response:
        assert sha256(await response.read()) == answer["sha256"]
    page = await servers.json("/api/search?q=filename:big.bin")
    assert [hit["body"]["sha256"] for hit in page["hits"]] == [answer["sha256"]]
    assert (await servers.json(f"/api/events/{answer['event']['id']}"))["event"]["action"] == "sourced"
    line = await servers.json(f"/api/where/{answer['md5']}")
    assert [len(line[part]) for part in ("records", "objects", "rows", "documents")] == [1, 1, 1, 1]
    assert (await servers.json("/api/tasks"))["total"] == 1
    await servers.json(f"/api/tasks/{task(1).dequeued}/hold", method="POST", status=202)
    await servers.json(f"/api/parked/{entry.id}/replay", method="POST", status=202)
    assert len(await servers.sourced()) == 2
    status = await servers.json("/api/status")
    assert status["ready"]
    assert [part["kind"] for part in status["parts"]] == ["kafka", "s3", "postgresql", "opensearch"]
    async with servers.client.get(servers.url + "/", headers=PAGE) as response:
        assert "big.bin" in await response.text()


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1 << 20):
        yield data[start : start + (1 << 20)]

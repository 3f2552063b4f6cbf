"""The hub's streams over stores that encode and cache: clients see none of it (dispatcher section 18)."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline import limits
from pipeline.app import make_parts, open_parts
from pipeline.objects.layers import layered
from pipeline.objects.location import spool_folder
from pipeline.objects.memory import MemoryDownload, MemoryStore
from pipeline.settings import load
from pipeline.web.server import serve
from tests.stores import AES_KEY, bytes_of
from tests.web.site import Site, opened

DATA = bytes_of(700_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
PLACE = "/api/v3/stream/testing/content"
PATH = f"{PLACE}/{SHA256}"
LAYERS: dict[str, dict[str, Any]] = {
    "xor": {"xor": "enabled"},
    "aes": {"aes": "enabled", "aes_key": AES_KEY.decode()},
    "aes and xor": {"aes": "enabled", "aes_key": AES_KEY.decode(), "xor": "enabled"},
    "cache": {"cache_bytes": "64MiB"},
    "all": {
        "aes": "enabled",
        "aes_key": AES_KEY.decode(),
        "xor": "enabled",
        "cache_bytes": "64MiB",
    },
}
MEASURED = re.compile(r'dispatcher_streams_op_duration_count\{method="(.*)",result="(.*)"\} (.*)')


async def metrics(site: Site) -> list[str]:
    async with site.client.get(f"{site.url}/metrics") as response:
        return (await response.text()).splitlines()


async def operations(site: Site) -> dict[tuple[str, str], float]:
    found = [MEASURED.fullmatch(line) for line in await metrics(site)]
    return {(match[1], match[2]): float(match[3]) for match in found if match}


@pytest.mark.parametrize("layers", LAYERS)
async def test_clients_never_see_how_a_stream_is_stored(tmp_path: Path, layers: str) -> None:
    async with opened(tmp_path, streams=LAYERS[layers], hub={"allow_delete": True}) as site:
        uploaded = (await site.json(PLACE, method="POST", data=DATA))["data"]
        assert (uploaded["sha256"], uploaded["size"], uploaded["mime"]) == (
            SHA256,
            len(DATA),
            "application/octet-stream",
        )
        for _ in range(2):
            async with site.client.get(site.url + PATH) as response:
                assert (response.content_length, await response.read()) == (len(DATA), DATA)
            for first, last in ((0, 0), (3, 17), (300_001, 600_000), (600_000, len(DATA) - 1)):
                headers = {"Range": f"bytes={first}-{last}"}
                async with site.client.get(site.url + PATH, headers=headers) as response:
                    assert await response.read() == DATA[first : last + 1]
                    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
        async with site.client.patch(f"{site.url}/api/v3/stream/testing/scan/content/{SHA256}") as response:
            assert response.status == 200
        async with site.client.get(f"{site.url}/api/v3/stream/scan/content/{SHA256}") as response:
            assert await response.read() == DATA
        assert await site.json(PATH, method="DELETE") == {"deleted": True}
        async with site.client.head(site.url + PATH) as response:
            assert response.status == 404
        await site.json(PATH, status=404)


@pytest.mark.parametrize("layers", ["xor", "aes", "aes and xor"])
async def test_no_byte_of_an_encoded_stream_lies_readable_on_disk(tmp_path: Path, layers: str) -> None:
    async with opened(tmp_path, streams=LAYERS[layers]) as site:
        await site.json(PLACE, method="POST", data=DATA)
        files = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
        assert len(files) == 1
        assert DATA[1000:1016] not in files[0].read_bytes()
        assert not [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]


class Unread(MemoryStore):
    """A store nobody may read from."""

    async def get(self, key: str, *, first: int = 0, last: int | None = None) -> MemoryDownload:
        raise AssertionError(f"{key} was read back from {first} to {last}")


@pytest.mark.parametrize("layers", ["off", "all"])
@pytest.mark.parametrize("size_bytes", [1, 3 * limits.MIB])
async def test_an_upload_is_never_read_back_to_be_identified(
    tmp_path: Path, layers: str, size_bytes: int
) -> None:
    values = {"data": str(tmp_path), "streams": LAYERS.get(layers, {})}
    settings = load(values, environment={"XDG_CONFIG_HOME": str(tmp_path)}).settings
    made = make_parts(settings)
    spool = spool_folder(tmp_path)
    store = layered(Unread(spool), settings.streams, spool=spool, clock=made.clock)
    data = bytes_of(size_bytes)
    async with (
        open_parts(replace(made, objects=store)) as parts,
        serve(parts, "127.0.0.1:0") as url,
        aiohttp.ClientSession() as client,
        client.post(url + PLACE, data=io.BytesIO(data)) as response,
    ):
        answer = (await response.json())["data"]
        assert answer["sha512"] == hashlib.sha512(data).hexdigest()
        assert answer["mime"] == "application/octet-stream"
        assert not [path for path in spool.rglob("*") if path.is_file()]


async def test_operations_on_streams_are_measured_under_the_names_people_watch(tmp_path: Path) -> None:
    async with opened(tmp_path, streams=LAYERS["cache"], hub={"allow_delete": True}) as site:
        before, lines_before = await operations(site), await metrics(site)
        await site.json(PLACE, method="POST", data=DATA)
        for method in ("GET", "GET", "HEAD", "DELETE", "GET"):
            async with site.client.request(method, site.url + PATH) as response:
                await response.read()
        async with site.client.patch(f"{site.url}/api/v3/stream/testing/scan/content/{SHA256}") as response:
            assert response.status == 404
        after, lines = await operations(site), await metrics(site)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert {name: count for name, count in grown.items() if count} == {
        ("put", "ok"): 1,
        ("fetch", "ok"): 3,
        ("cache-fetch", "ok"): 3,
        ("cache-fetch-miss", "ok"): 2,
        ("exists", "ok"): 1,
        ("delete", "ok"): 1,
        ("copy", "ok"): 1,
    }
    for name, count in (("lookups", 4), ("hits", 2)):
        totals = [
            float(line.split()[1])
            for text in (lines_before, lines)
            for line in text
            if line.startswith(f"dispatcher_data_cache_{name}_total")
        ]
        assert totals[1] - totals[0] == count


async def test_what_cannot_be_stored_is_measured_as_an_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        before = await operations(site)
        (tmp_path / "objects" / "testing").write_bytes(b"in the way")
        async with site.client.post(site.url + PLACE, data=DATA) as response:
            assert response.status >= 400
        after = await operations(site)
    assert after["put", "error"] - before.get(("put", "error"), 0) == 1

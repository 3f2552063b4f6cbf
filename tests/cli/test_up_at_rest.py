"""`headrace up` with encrypted streams and age-off: nothing lies readable, and what is too old goes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tests.faults.service import service
from tests.processes import until
from tests.stores import AES_KEY, bytes_of

DATA = b"a text that must not lie readable on disk\n" + bytes_of(2000)
SETTINGS = (
    "streams.aes=enabled",
    f"streams.aes_key={AES_KEY.decode()}",
    "streams.cache_bytes=1MiB",
    "streams.age_off=on",
    "events.sources.testing.expire_events_after=2 days",
)


async def test_an_encrypted_store_serves_agents_and_clients_and_loses_what_is_too_old(
    tmp_path: Path,
) -> None:
    sha256 = hashlib.sha256(DATA).hexdigest()
    old = tmp_path / "data/objects/testing/content/0/0" / ("0" * 64)
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    os.utime(old, (1, 1))
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    async with service(tmp_path, options=options) as running:
        await running.submit(DATA, source="testing")
        await running.enriched(sha256)
        path = f"/api/v3/stream/testing/content/{sha256}"
        async with running.client.get(running.url + path) as response:
            assert await response.read() == DATA
        await until(lambda: not old.exists())
    [stored] = [path for path in (tmp_path / "data/objects/testing").rglob("*") if path.is_file()]
    assert stored.name == f"{sha256}.aesc1"
    assert DATA[:16] not in stored.read_bytes()

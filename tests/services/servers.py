"""A set of real servers of our own, which may be stopped: not the ones the other tests share."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import S3Server
from tests.services.lab import Servers

VARIABLE = "PIPELINE_SERVICES"
START_SECONDS = 240.0
S3_NAMES = ("ENDPOINT", "REGION", "ACCESS_KEY", "SECRET_KEY", "BUCKET")
_EXPORT = re.compile(r"export PIPELINE_TEST_(\w+)=(\S+)")
_SMALL = {"PIPELINE_SERVICES_KAFKA_MEMORY": "512m", "PIPELINE_SERVICES_OPENSEARCH_MEMORY": "512m"}


def command() -> Path | None:
    """Return the command that starts and stops servers, None when this machine has none."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


class OwnServers:
    """Four servers in a folder of their own."""

    def __init__(self) -> None:
        found = command()
        assert found is not None
        self._command = found
        # Some servers run under another account, which must be able to enter.
        self._folder = Path(tempfile.mkdtemp(prefix="headrace-servers-"))
        self._folder.chmod(0o755)
        self._environment = {**os.environ, **_SMALL, "PIPELINE_SERVICES_STATE": str(self._folder)}

    def start(self) -> Servers:
        """Start all; return where they are."""
        told = dict(_EXPORT.findall(self._run("up")))
        s3 = S3Server(*(told[f"S3_{name}"] for name in S3_NAMES))
        return Servers(told["KAFKA"], s3, told["POSTGRES"], told["OPENSEARCH"])

    def wipe(self) -> None:
        """Stop all and remove everything they had."""
        self._run("wipe")
        shutil.rmtree(self._folder, ignore_errors=True)

    async def down(self, name: str) -> None:
        """Stop one."""
        await asyncio.to_thread(self._run, "down", name)

    async def up(self, name: str) -> None:
        """Start one again, where it was; return when it answers."""
        await asyncio.to_thread(self._run, "up", name)

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [self._command, *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

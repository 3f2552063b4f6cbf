"""Requests made up from the description of the routes: whatever they say, they cause no failure of ours."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.web.site import Site

EXAMPLES = 10
"""Made up for each route, besides those at the limits of each parameter."""
LEFT_OUT = {
    "/api/v2/event/simulate": "answers 500 where it cannot read the event, as its contract says",
    "/debug/pprof/{item}": "a profile takes as many seconds as it is asked for",
}
SECONDS = 300


@pytest.mark.timeout(SECONDS + 30)
async def test_no_request_that_can_be_made_up_is_answered_with_a_failure_of_ours(
    site: Site, tmp_path: Path
) -> None:
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{site.url}/openapi.json"),
        *("--checks", "not_a_server_error", "--phases", "coverage,fuzzing", "-n", str(EXAMPLES)),
        *("--suppress-health-check", "all", "--request-timeout", "90"),
        *(part for path in LEFT_OUT for part in ("--exclude-path", path)),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(SECONDS):
        told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    assert b"Tested:" in told, told.decode()

"""A headless Chromium and one page in it, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE_SECONDS = 40.0
PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_TABS_MAX = 200
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}
"""Key code and text of the keys that are pressed."""


class Tab:
    """One page of the browser; every wait has an end.

    Args:
        connection: To the page.
    """

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection
        self._ids = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> Any:
        """Ask the browser for something and return its answer."""
        number = next(self._ids)
        await self._connection.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (answer := await self._connection.receive_json()).get("id") != number:
                pass
        assert "error" not in answer, (method, answer)
        return answer["result"]

    async def open(self, url: str) -> None:
        """Go to an address and wait for the page."""
        answer = await self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        await self.wait(lambda text: text != "")

    async def value(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    async def wait(self, holds: Callable[[str], bool]) -> str:
        """Wait until the text of the loaded page is as wanted, and return it."""
        text = ""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = await self.value(
                    "document.readyState === 'complete' && location.protocol === 'http:' ? "
                    "document.body.innerText : ''"
                )
                text = str(found or "")
                if holds(text):
                    return text

    async def press(self, key: str) -> None:
        """Press a key."""
        code, text = _KEYS[key]
        shared = {"key": key, "code": key.strip() or "Space", "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    async def tab_to(self, label: str) -> None:
        """Press Tab until what is read out under this label has the focus."""
        seen = []
        for _ in range(_TABS_MAX):
            await self.press("Tab")
            focused = await self.value("document.activeElement.textContent.replace(/\\s+/g, ' ').trim()")
            seen.append(focused)
            if focused == label:
                outline = await self.value("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"nobody sees that {label!r} has the focus"
                return
        raise AssertionError(f"the keyboard does not reach {label!r}, only {seen}")

    async def without_script(self) -> None:
        """Run no script of pages from now on."""
        await self.call("Emulation.setScriptExecutionDisabled", value=True)

    async def choose_file(self, selector: str, path: Path) -> None:
        """Put a file into a field of a form."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        field = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        await self.call("DOM.setFileInputFiles", nodeId=field, files=[str(path)])


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Tab]:
    """Run a browser with an empty profile in a folder; give its page, end it on leaving."""
    assert PROGRAM is not None
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *options,
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), aiohttp.ClientSession() as session:
            address = await _address(process.stderr)
            draining = asyncio.create_task(process.stderr.read())
            async with session.get(f"http://{address}/json/list") as response:
                [page] = [each for each in await response.json() if each["type"] == "page"]
            connection = await session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
            yield Tab(connection)
            await connection.close()
    finally:
        process.terminate()
        await process.wait()
    await draining


async def _address(stderr: asyncio.StreamReader) -> str:
    """Return where the browser listens, once it says so."""
    while line := await stderr.readline():
        if found := re.search(rb"DevTools listening on ws://([^/]+)/", line):
            return found[1].decode()
    raise AssertionError("the browser ended")

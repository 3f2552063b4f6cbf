"""What people do on the pages, done in a browser with the keyboard alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline.events.task import decode_task
from tests.browser.browser import Tab
from tests.web.fetching import fetch
from tests.web.site import PREFIX, Site, sha256, task

KEY = "plug-1.2-binary-allsrc-alltype-L"


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
async def test_a_plugin_is_paused_and_its_task_held_without_a_mouse(
    site: Site, tab: Tab, *, script: bool
) -> None:
    await site.make_tables()
    await fetch(site.client, site.url, kind="active", r_live="true")
    await site.put_tasks([msgspec.structs.replace(task(1, plugin="plug"), consumer_key=KEY)])
    if not script:
        await tab.without_script()
    await tab.open(site.url)
    await tab.tab_to("Plugins")
    await tab.press("Enter")
    await tab.wait(lambda text: "Plugins and other consumers" in text)
    await tab.tab_to("Pause plugins")
    await tab.press("Enter")
    await tab.wait(lambda text: "Plugins are paused." in text)
    assert (await site.json("/api/pause"))["state"] == "paused"
    await tab.tab_to("Resume plugins")
    await tab.press(" ")
    await tab.wait(lambda text: "The pause is over" in text)
    assert (await site.json("/api/pause"))["state"] == "none"
    await tab.tab_to("plug 1.2")
    await tab.press("Enter")
    await tab.wait(lambda text: "Lanes" in text)
    await tab.tab_to(f"Hold task {task(1, plugin='plug').dequeued}")
    await tab.press("Enter")
    await tab.wait(lambda text: "told to hold" in text)
    [record] = await site.records(f"azul.{PREFIX}.system.task")
    assert decode_task(record.value or b"").kind == "hold"


async def test_a_file_is_submitted_without_script(site: Site, tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "sample.txt"
    file.write_bytes(b"by hand")
    await tab.without_script()
    await tab.open(site.url)
    await tab.choose_file("#file", file)
    await tab.tab_to("Submit")
    await tab.press("Enter")
    await tab.wait(lambda text: f"Stored: {sha256(b'by hand')}" in text)

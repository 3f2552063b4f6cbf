"""Finding an archived message, reading it and coming back, with the keyboard alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.browser import Tab
from tests.web.archive_site import PUBLIC, ArchiveSite, a_message, archive_site


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[ArchiveSite]:
    """Give a served archive."""
    folder = tmp_path / "archive"
    folder.mkdir()
    async with archive_site(folder) as made:
        yield made


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
async def test_a_message_is_found_and_read_without_a_mouse(
    archive: ArchiveSite, tab: Tab, *, script: bool
) -> None:
    rows = await archive.store(*(a_message(n, value=b'{"number": %d}' % n) for n in range(60)))
    if not script:
        await tab.without_script()
    await tab.open(archive.site.url)
    await tab.tab_to("Archive")
    await tab.press("Enter")
    await tab.wait(lambda text: "Messages over time" in text)
    await tab.tab_to("Find")
    await tab.press("Enter")
    await tab.wait(lambda text: "Found" in text and "T59" in text)
    await tab.tab_to("Older")
    await tab.press("Enter")
    await tab.wait(lambda text: "T9\t" in text and "T59" not in text)
    await tab.tab_to("T9")
    await tab.press("Enter")
    text = await tab.wait(lambda text: "Annotations" in text)
    assert str(rows[9].uuid) in text
    assert '"number": 9' in text
    await tab.tab_to("After: offset 10")
    await tab.press("Enter")
    await tab.wait(lambda text: str(rows[10].uuid) in text)
    await tab.tab_to(PUBLIC)
    await tab.press("Enter")
    await tab.wait(lambda text: "What is not archived" in text)


async def test_the_figures_of_a_plot_are_reached_by_keyboard(archive: ArchiveSite, tab: Tab) -> None:
    await archive.store(a_message(0), a_message(1))
    await tab.open(f"{archive.site.url}/archive/topics/{PUBLIC}")
    await tab.tab_to("The same figures as a table")
    await tab.press("Enter")
    await tab.wait(lambda text: "Hour from (UTC)" in text)
    await tab.tab_to("2023-11-14 22:00")
    await tab.press("Enter")
    await tab.wait(lambda text: "Found" in text and "T1" in text)


@pytest.mark.parametrize("path", ["/archive", f"/archive/topics/{PUBLIC}", "/archive/search"])
async def test_no_page_is_wider_than_a_narrow_screen(archive: ArchiveSite, tab: Tab, path: str) -> None:
    await archive.store(*(a_message(n, headers=(("title", b"x" * 200),)) for n in range(5)))
    await archive.store(a_message(9, topic="a-topic-with-a-long-name." * 9))
    await tab.call(
        "Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=False
    )
    await tab.open(archive.site.url + path)
    assert await tab.value("document.documentElement.scrollWidth <= innerWidth")

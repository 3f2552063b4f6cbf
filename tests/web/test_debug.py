"""What can be seen of a running process."""

from __future__ import annotations

import pytest

from tests.web.site import Site

PATH = "/debug/pprof/"


async def text(site: Site, path: str) -> str:
    async with site.client.get(site.url + path) as response:
        assert (response.status, response.content_type) == (200, "text/plain")
        return await response.text()


@pytest.mark.parametrize(
    ("item", "seen"),
    [
        ("cmdline", "python"),
        ("goroutine", "RequestHandler.start"),
        ("threadcreate", "MainThread"),
        ("heap", "builtins.dict"),
        ("profile?seconds=0.2", "run_forever"),
    ],
)
async def test_each_view_shows_this_process(site: Site, item: str, seen: str) -> None:
    assert item.partition("?")[0] in (await text(site, PATH)).split()
    assert seen in await text(site, PATH + item)


async def test_a_profile_is_made_of_collapsed_stacks(site: Site) -> None:
    for line in (await text(site, f"{PATH}profile?seconds=0.2")).splitlines():
        stack, _, count = line.rpartition(" ")
        assert int(count) > 0
        assert all(frame.endswith(")") for frame in stack.split(";"))


@pytest.mark.parametrize(("item", "status"), [("mutex", 404), ("profile?seconds=3600", 400)])
async def test_what_cannot_be_seen_is_refused(site: Site, item: str, status: int) -> None:
    assert "todo" in await site.json(PATH + item, status=status)

"""A file sent through again before everything else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline import limits
from tests.events.samples import BINARY, NODE
from tests.web.fetching import fetch, post
from tests.web.html import load, press
from tests.web.site import PREFIX, Site, sha256

EXPEDITE = f"azul.{PREFIX}.system.expedite"
FILE = "ab" * 32


def turned_up(file: str, action: str = "sourced", number: int = 0, **more: Any) -> dict[str, Any]:
    """Make an event saying that a file turned up; `number` makes it another one."""
    node = {**NODE, "sha256": file, "action": action}
    source = {"name": "testing", "timestamp": "2026-01-01T00:00:00Z", "path": [node]}
    entity = {**BINARY["entity"], "sha256": file}
    references = {"number": str(number)}
    return {
        **BINARY,
        "action": action,
        "entity": entity,
        "source": {**source, "references": references},
        **more,
    }


async def expedited(site: Site) -> list[Any]:
    return [msgspec.json.decode(record.value or b"") for record in await site.records(EXPEDITE)]


async def test_a_file_overtakes_what_waits_before_it(site: Site) -> None:
    await fetch(site.client, site.url, kind="active", r_expedite="true", r_live="true")
    for number in range(3):
        await site.submit(b"file %d" % number)
    last = sha256(b"file 2")
    told = await site.json(f"/api/objects/{last.upper()}/hurry", method="POST", status=202)
    [again] = await expedited(site)
    assert (told["sha256"], told["id"], told["source"]) == (last, again["kafka_key"], "testing")
    assert again["flags"] == {"expedite": True, "bypass_cache": True}
    first = await fetch(site.client, site.url, kind="active", r_expedite="true", r_live="true", deadline=5)
    assert first.events[0]["entity"]["sha256"] == last


async def test_the_newest_sourced_event_is_taken_before_any_extracted_one(site: Site) -> None:
    about = [turned_up(FILE, number=1), turned_up(FILE, number=2), turned_up(FILE, "extracted", 3)]
    for event in [*about, turned_up("cd" * 32), turned_up("ef" * 32, "extracted", 4)]:
        await post(site.client, site.url, "binary", [event])
    await site.json(f"/api/objects/{FILE}/hurry", method="POST", status=202)
    await site.json(f"/api/objects/{'ef' * 32}/hurry", method="POST", status=202)
    sourced, extracted = await expedited(site)
    assert (sourced["action"], sourced["source"]["references"]) == ("sourced", {"number": "2"})
    assert (extracted["action"], extracted["entity"]["sha256"]) == ("extracted", "ef" * 32)


async def test_a_file_only_found_inside_events_of_others_is_not_hurried(site: Site) -> None:
    event = turned_up("cd" * 32, "extracted")
    event["source"]["path"].insert(0, {**NODE, "sha256": FILE})
    await post(site.client, site.url, "binary", [event])
    problem = await site.json(f"/api/objects/{FILE}/hurry", method="POST", status=404)
    assert problem["todo"] == "submit it again"
    await site.json("/api/objects/nothash/hurry", method="POST", status=400)
    assert await expedited(site) == []


async def test_only_the_newest_part_of_the_log_is_looked_at(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HURRY_RECORDS_PER_PARTITION", 2)
    answers = [await site.submit(b"file %d" % number) for number in range(3)]
    statuses = (404, 202, 202)
    for submitted, status in zip(answers, statuses, strict=True):
        await site.json(f"/api/objects/{submitted['sha256']}/hurry", method="POST", status=status)


async def test_what_was_deleted_does_not_come_back(site: Site) -> None:
    await post(site.client, site.url, "binary", [turned_up(FILE)])
    [event] = (await fetch(site.client, site.url, r_historic="true")).events
    deletion = {
        "model_version": 6,
        "timestamp": "2026-11-02T00:00:00Z",
        "author": {"name": "bob"},
        "action": "ids",
        "entity": {"ids": {"ids": [event["kafka_key"]]}},
    }
    await post(site.client, site.url, "delete", [deletion])
    problem = await site.json(f"/api/objects/{FILE}/hurry", method="POST", status=409)
    assert "FilterPreviouslyDeleted" in problem["why"]
    assert await expedited(site) == []


async def test_the_page_of_a_file_has_the_button(site: Site) -> None:
    answer = await site.submit(b"by hand")
    page = await load(site, f"/objects/{answer['sha256']}")
    after = await press(site, page, "Send through again, first")
    assert "Sent through again" in after.text
    assert len(await expedited(site)) == 1

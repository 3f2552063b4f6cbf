"""Life lines: everything that knows a file or event is listed, and what was not looked at is said."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from pipeline import limits
from pipeline.hub.changelogs import PLUGINS, changelog_topic
from pipeline.log.port import NewRecord
from tests.web.site import PREFIX, SOURCED, Site, sha256, task

DATA = b"a file with a life"


async def _lived(site: Site) -> Any:
    """Let one file go everywhere, among others."""
    await site.submit(b"another file")
    answer = await site.submit(DATA)
    await site.index_events()
    await site.archive_events()
    await site.make_tables()
    about = msgspec.json.encode(
        {"kafka_key": answer["event"]["id"], "entity": {"sha256": answer["sha256"]}}
    )
    await site.put_tasks([task(1), msgspec.structs.replace(task(2), event=msgspec.Raw(about))])
    await site.park((await site.records(SOURCED))[1], "poison")
    return answer


@pytest.mark.parametrize("kind", ["sha256", "sha1", "md5"])
async def test_a_file_is_found_everywhere_by_any_of_its_hashes(site: Site, kind: str) -> None:
    answer = await _lived(site)
    digest = hashlib.new(kind, DATA).hexdigest()
    line = await site.json(f"/api/where/{digest.upper()}")
    assert line["objects_meant"] == [answer["sha256"]]
    topics = {record["topic"] for record in line["records"]}
    assert topics == {SOURCED, changelog_topic(PREFIX, "in_flight")}
    assert [entry["table"] for entry in line["entries"]] == ["in_flight"]
    assert [copy["key"] for copy in line["objects"]] == [f"testing/content/{answer['sha256']}"]
    assert [row["offset"] for row in line["rows"]] == [answer["event"]["offset"]]
    assert len(line["documents"]) == 1
    assert line["remarks"] == []


async def test_an_event_leads_to_the_file_it_is_about(site: Site) -> None:
    answer = await _lived(site)
    line = await site.json(f"/api/where/{answer['event']['id']}")
    assert line["objects_meant"] == [answer["sha256"]]
    assert {record["topic"] for record in line["records"]} >= {SOURCED}
    assert {entry["table"] for entry in line["entries"]} == {"in_flight"}
    assert len(line["rows"]) == 1
    assert len(line["objects"]) == 1


async def test_a_task_is_found_by_its_id(site: Site) -> None:
    await _lived(site)
    line = await site.json(f"/api/where/{task(1).dequeued}")
    assert line["kind"] == "id"
    assert [(entry["table"], entry["key"]) for entry in line["entries"]] == [
        ("in_flight", task(1).dequeued)
    ]


async def test_what_nobody_knows_is_not_found(site: Site) -> None:
    await _lived(site)
    await site.json(f"/api/where/{'0' * 64}", status=404)
    await site.json("/api/where/no-such-id", status=404)


@pytest.mark.parametrize("name", ["short", "x" * 1025, "%00%00%00%00%00%00%00%00", "%0d%0aabcdefgh"])
async def test_what_is_neither_hash_nor_id_is_refused(site: Site, name: str) -> None:
    await site.json(f"/api/where/{name}", status=400)


async def test_missing_tables_are_said_not_hidden(site: Site) -> None:
    answer = await site.submit(DATA)
    line = await site.json(f"/api/where/{answer['sha256']}")
    assert any("has not run" in remark for remark in line["remarks"])


@pytest.mark.parametrize(
    ("limit", "value", "word"),
    [
        ("WHERE_HITS_MAX", 3, "3 records"),
        ("WHERE_RECORDS_MAX", 3, "reading"),
        ("WHERE_SECONDS", -1.0, "reading"),
    ],
)
async def test_a_search_cut_short_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, word: str
) -> None:
    monkeypatch.setattr(limits, limit, value)
    for number in range(5):
        await site.submit(DATA, **{"reference.n": str(number)})
    line = await site.json(f"/api/where/{sha256(DATA)}")
    assert any("stopped after" in remark and word in remark for remark in line["remarks"])
    assert line["records_read"] > 0


async def test_records_that_hold_anything_are_read_without_harm(site: Site) -> None:
    needle = sha256(DATA).encode()
    values = [
        needle,
        b'"' + needle,
        b"[" * 100_000 + needle,
        b'["' + needle + b'"]',
        b'{"entity": "%s"}' % needle,
        None,
    ]
    topic = changelog_topic(PREFIX, PLUGINS)
    await site.make_tables()
    for value in values:
        await site.parts.log.append([NewRecord(topic, needle, value)])
    line = await site.json(f"/api/where/{needle.decode()}")
    assert len(line["records"]) == len(values)
    assert line["records"][-1]["what"] == "removed"


async def test_a_part_that_is_down_is_said_and_the_others_are_asked(site: Site) -> None:
    answer = await site.submit(DATA)
    await site.parts.index.close()
    line = await site.json(f"/api/where/{answer['sha256']}")
    assert len(line["records"]) == 1
    assert any("index" in remark for remark in line["remarks"])
    problem = await site.json(f"/api/where/{'0' * 64}", status=503)
    assert "not everything" in problem["why"]

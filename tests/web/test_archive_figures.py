"""Figures of the archive for programs: rates and gaps, of the topics the caller may read."""

from __future__ import annotations

import pytest

from tests.web.archive_site import PRIVATE, PUBLIC, TIME_MS, TOKEN, ArchiveSite, a_message

DAY = 86_400_000
START = TIME_MS - TIME_MS % DAY
RANGE = {"start_time": START, "end_time": START + 2 * DAY}
DAVE = {"Authorization": f"Bearer {TOKEN}"}


async def test_rates_count_what_came_when(any_archive: ArchiveSite) -> None:
    rows = await any_archive.store(a_message(0), a_message(1, timestamp_ms=TIME_MS + DAY), a_message(2))
    url = "/api/archive/rates"
    found = await any_archive.site.json(url, params=RANGE)
    assert (found["step"], found["starts_ms"], found["end_ms"]) == (
        "day",
        [START, START + DAY],
        START + 2 * DAY,
    )
    sizes = [rows[0].size + rows[2].size, rows[1].size]
    assert found["topics"] == [{"topic": PUBLIC, "messages": [2, 1], "size_bytes": sizes}]
    by_hour = await any_archive.site.json(url, params={**RANGE, "step": "hour", "topic": PUBLIC})
    assert [len(by_hour["starts_ms"]), sum(by_hour["topics"][0]["messages"])] == [48, 3]
    now = await any_archive.site.json(url)
    assert [len(now["starts_ms"]), now["topics"]] == [30, []], "the last days, in which nothing came"


async def test_only_those_with_a_right_see_figures_of_private_topics(archive: ArchiveSite) -> None:
    await archive.store(a_message(0, topic=PRIVATE), a_message(2, topic=PRIVATE), public=False)
    await archive.store(a_message(0))
    everybody = await archive.site.json("/api/archive/rates", params=RANGE)
    assert [one["topic"] for one in everybody["topics"]] == [PUBLIC]
    dave = await archive.site.json("/api/archive/rates", params=RANGE, headers=DAVE)
    assert {one["topic"] for one in dave["topics"]} == {PUBLIC, PRIVATE}
    path = f"/api/archive/topics/{PRIVATE}/gaps"
    assert (await archive.site.json(path, headers=DAVE))["missing_total"] == 1
    assert (await archive.ask(f"/topics/{PRIVATE}/gaps")).status == 401
    assert (await archive.ask(f"/rates?topic={PRIVATE}")).status == 401
    assert (await archive.ask_as("nobody", f"/topics/{PRIVATE}/gaps")).status == 403


async def test_gaps_are_listed_with_their_causes(any_archive: ArchiveSite) -> None:
    await any_archive.store(*(a_message(offset) for offset in (3, 4, 7, 9)))
    found = await any_archive.site.json(f"/api/archive/topics/{PUBLIC}/gaps")
    gap = {"partition": 0, "offsets": 2, "first": 5, "last": 6, "parked": 0, "cause": "not looked"}
    assert found["gaps"] == [gap, {**gap, "offsets": 1, "first": 8, "last": 8}]
    assert (found["gaps_total"], found["missing_total"]) == (2, 3)
    assert "no such topic" in found["why"]
    few = await any_archive.site.json(f"/api/archive/topics/{PUBLIC}/gaps", params={"limit": 1})
    assert (len(few["gaps"]), few["gaps_total"]) == (1, 2)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("step=minute", 400),
        ("start_time=5&end_time=5", 400),
        ("start_time=-1", 400),
        ("step=hour&start_time=0", 413),
        ("nothing=known", 400),
    ],
)
async def test_wrong_questions_are_refused(archive: ArchiveSite, query: str, status: int) -> None:
    answer = await archive.ask(f"/rates?{query}")
    assert (answer.status, bool(answer.message)) == (status, True)

"""headrace archive gaps: of one topic with what the log says, of all in one line each."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import msgspec
import pytest

from pipeline.log.port import NewRecord, TopicSpec
from tests.cli.command import Command
from tests.web.archive_site import PUBLIC, ArchiveSite, a_message
from tests.web.site import Site


async def fill(site: Site) -> Any:
    """Archive five of seven records of a topic, and two uploads of another one."""
    await site.parts.log.create_topics([TopicSpec(PUBLIC, 1)])
    await site.parts.log.append([NewRecord(PUBLIC, None, b"x") for _ in range(7)])
    archive = ArchiveSite(site, site.folder)
    await archive.store(*(a_message(offset) for offset in (0, 1, 4, 5)))
    uploads = [
        msgspec.structs.replace(a_message(n), topic="up", partition=None, offset=None) for n in (1, 2)
    ]
    await archive.store(*uploads)


@pytest.mark.parametrize("served", [False, True], ids=["alone", "beside a server"])
def test_gaps_of_a_topic_are_listed_with_what_the_log_says(headrace: Command, *, served: bool) -> None:
    headrace.prepare(fill)
    with headrace.serving() if served else nullcontext():
        shown = headrace("archive gaps", PUBLIC)
        found = headrace("archive gaps", "--json", PUBLIC).json
        listed = headrace("archive gaps", "--limit", "1", PUBLIC)
    assert "0\t0\t5\t4\t1\t2\t0\t7\t1" in shown.lines
    assert "0\t2\t3\t2\t0\tin the log" in shown.lines
    assert "1 of 1 gaps, 2 offsets in all" in shown.err
    assert found["gaps"][0]["cause"] == "in the log"
    assert listed.lines == shown.lines


def test_without_a_topic_every_one_is_counted(headrace: Command) -> None:
    headrace.prepare(fill)
    assert headrace("archive gaps").lines == [f"{PUBLIC}\t1\t1\t2\t1", "up\t0\t0\t0\t0"]
    topics = headrace("archive gaps", "--json").json["topics"]
    assert [one["topic"] for one in topics] == [PUBLIC, "up"]


def test_a_topic_nobody_archived_has_no_gaps(headrace: Command) -> None:
    shown = headrace("archive gaps", "none")
    assert "0 of 0 gaps, 0 offsets in all" in shown.err
    assert "no such topic" in shown.err

"""consumers, pause, resume: who is behind, and whether tasks are handed out."""

from __future__ import annotations

import msgspec
import pytest

from tests.cli.command import Command
from tests.web.fetching import fetch
from tests.web.site import Site, task

KEY = "plug-1.2-binary-allsrc-alltype-LH"


async def _consume(site: Site) -> None:
    """Have two consumers ask: one for tasks, which has some out, and one for events."""
    await site.make_tables()
    await site.submit(b"one")
    await fetch(site.client, site.url, kind="active", r_live="true", r_historic="true", r_source="none")
    await fetch(site.client, site.url, name="feed\x1b[31m", r_live="true")
    await site.submit(b"two")
    key = KEY.replace("allsrc", "none")
    mine = msgspec.structs.replace(task(1, plugin="plug", state="waiting"), consumer_key=key, attempt=1)
    await site.put_tasks([mine, task(2)])


def test_plugins_are_listed_with_the_lag_of_each_lane_and_what_is_out(headrace: Command) -> None:
    assert headrace("consumers").lines == []
    headrace.prepare(_consume)
    feed, plug = (line.split("\t") for line in headrace("consumers").lines)
    assert feed[:7] == [
        "feed\\x1b[31m-1.2-binary-allsrc-alltype-L",
        "passive",
        "1",
        "live=1",
        "",
        "0",
        "0",
    ], "nothing a client calls itself steers the terminal"
    assert plug[:7] == [
        KEY.replace("allsrc", "none"),
        "active",
        "0",
        "retry=0 live=- historic=-",
        "waiting=1",
        "1",
        "0",
    ], "its source has no topics, so it has no position there"
    assert [line.split("\t")[1] for line in headrace("consumers", "--name", "plug").lines] == ["active"]
    page = headrace("consumers", "-n", "1", "--json").json
    assert (len(page["consumers"]), page["total"], page["pause"]["state"]) == (1, 2, "none")
    rest = headrace("consumers", "-n", "1", "--after", page["next"], "--json").json
    assert [one["name"] for one in rest["consumers"]] == ["plug"]


def test_a_pause_is_told_until_it_is_ended(headrace: Command) -> None:
    assert "No tasks are handed out until" in headrace("pause").text
    assert "No tasks are handed out until" in headrace("consumers").err
    assert headrace("pause", "--json").json["state"] == "paused"
    assert headrace("resume").lines == ["Tasks are handed out."]
    assert "No tasks" not in headrace("consumers").err
    assert headrace("resume", "--json").json["state"] == "none"


@pytest.mark.parametrize("words", ["consumers", "pause", "resume"])
def test_every_command_explains_itself_with_an_example(headrace: Command, words: str) -> None:
    text = headrace.plain(words, "--help").text
    assert f"Example: headrace {words}" in text
    assert "--json" in text
    assert "--data" in text

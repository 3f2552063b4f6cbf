"""search, where, tasks, parked, topics: what the parts hold is shown and steered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.events.parked import decode_parked
from pipeline.events.task import decode_task
from tests.cli.command import Command
from tests.web.site import PREFIX, SOURCED, Site, sha256, task


async def _fill(site: Site) -> Any:
    """Put something everywhere."""
    answers = [await site.submit(b"file %d" % n, filename=f"name{n}.txt") for n in range(3)]
    await site.index_events()
    await site.make_tables()
    await site.put_tasks([task(1), task(2, state="held", plugin="other")])
    entry = await site.park((await site.records(SOURCED))[0], "it does not decode")
    return answers[0]["event"]["id"], entry.id


def test_search_finds_by_hash_field_and_words(headrace: Command) -> None:
    headrace.prepare(_fill)
    digest = sha256(b"file 1")
    for query in ([digest], [f"sha256:{digest}"], ["filename:name1.txt"], ["name1.txt"]):
        page = headrace("search", "--json", *query).json
        assert [hit["body"]["sha256"] for hit in page["hits"]] == [digest], query
    [line] = headrace("search", digest).lines
    assert line.split("\t")[0] == digest
    assert "name1.txt" in line


def test_search_pages_sorts_and_groups(headrace: Command) -> None:
    headrace.prepare(_fill)
    first = headrace("search", "--sort", "filename", "-n", "2", "--json").json
    rest = headrace("search", "--sort", "filename", "-n", "2", "--after", first["next"], "--json").json
    names = [hit["body"]["filename"][0] for page in (first, rest) for hit in page["hits"]]
    assert names == ["name0.txt", "name1.txt", "name2.txt"]
    assert headrace("search", "--group", "source.name").lines == ["testing\t3"]


@pytest.mark.parametrize(
    "arguments", [["nosuchfield:1"], ["--sort", "nosuchfield"], ["--after", "nonsense"]]
)
def test_a_wrong_search_is_wrong_use(headrace: Command, arguments: list[str]) -> None:
    headrace("search", *arguments, code=2)


def test_what_nobody_knows_is_not_found(either: Command) -> None:
    either("where", "0" * 64, code=3)
    either("where", "short", code=2)


def test_where_shows_every_part(headrace: Command) -> None:
    event, _ = headrace.prepare(_fill)
    line = headrace("where", sha256(b"file 0"), "--json").json
    assert len(line["records"]) == len(line["objects"]) == len(line["documents"]) == 1
    text = headrace("where", event).text
    for title in ("topics (", "tables (0)", "objects (1)", "rows (0)", "documents (1)"):
        assert title in text
    assert SOURCED in text


def test_tasks_are_listed_shown_and_steered(headrace: Command) -> None:
    headrace.prepare(_fill)
    lines = headrace("tasks list").lines
    assert [line.split("\t")[0] for line in lines] == [task(1).dequeued, task(2, plugin="other").dequeued]
    assert len(headrace("tasks list", "--state", "held").lines) == 1
    assert headrace("tasks show", task(1).dequeued, "--json").json["event"]["entity"]["sha256"] == "1" * 64
    assert "entropy" in headrace("tasks show", task(1).dequeued).text
    for kind in ("hold", "release", "requeue", "hurry"):
        headrace(f"tasks {kind}", task(1).dequeued)
    headrace("tasks hold", "nope", code=3)

    async def told(site: Site) -> list[str]:
        return [decode_task(r.value or b"").kind for r in await site.records(f"azul.{PREFIX}.system.task")]

    assert headrace.prepare(told) == ["hold", "release", "requeue", "hurry"]


@pytest.mark.parametrize("words", ["tasks process-lost", "process-lost-tasks"])
def test_lost_tasks_are_noticed_at_once(headrace: Command, words: str) -> None:
    headrace.prepare(_fill)
    assert headrace(words).lines == ["lapsed: 1"], "one is overdue, the other is held"
    assert headrace(words, "--json").json["lapsed"] == 1, "no agent has acted on it yet"

    async def told(site: Site) -> list[tuple[str, str]]:
        records = await site.records(f"azul.{PREFIX}.system.task")
        events = [decode_task(record.value or b"") for record in records]
        return [(event.kind, event.dequeued) for event in events]

    assert headrace.prepare(told) == [("lapsed", task(1).dequeued)] * 2


def test_parked_records_are_listed_shown_and_replayed(headrace: Command) -> None:
    _, entry = headrace.prepare(_fill)
    assert [line.split("\t")[0] for line in headrace("parked list").lines] == [entry]
    assert "does not decode" in headrace("parked show", entry).text
    headrace("parked show", "nope", code=3)
    headrace("parked replay", code=2)
    headrace("parked replay", entry, "--all", code=2)
    assert headrace("parked replay", "--all", "--json").json["id"] == entry

    async def states(site: Site) -> tuple[int, list[str]]:
        words = await site.records(f"azul.{PREFIX}.system.parked")
        return len(await site.records(SOURCED)), [decode_parked(r.value or b"").state for r in words]

    assert headrace.prepare(states) == (4, ["replayed"])


def test_topics_are_created_once(headrace: Command) -> None:
    created = headrace("topics create", "--json").json["created"]
    assert SOURCED in created
    assert headrace("topics create", "--json").json == {"created": []}
    listed = [line.split("\t")[0] for line in headrace("topics list").lines]
    assert set(listed) == set(created)


def test_topics_are_created_by_a_running_server(headrace: Command) -> None:
    with headrace.serving():
        assert headrace("topics create", "--json").json == {"created": []}


def test_nothing_is_coloured_in_a_pipe(headrace: Command) -> None:
    headrace.prepare(_fill)
    for words in ("search", "tasks list", "parked list", "topics list"):
        assert b"\x1b" not in headrace(words).out


@pytest.mark.parametrize(
    "words",
    [
        "submit",
        "get",
        "search",
        "where",
        "tasks list",
        "tasks show",
        "tasks hold",
        "tasks release",
        "tasks requeue",
        "tasks hurry",
        "tasks process-lost",
        "process-lost-tasks",
        "parked list",
        "parked show",
        "parked replay",
        "topics list",
        "topics create",
    ],
)
def test_every_command_explains_itself_with_an_example_and_takes_json(
    headrace: Command, words: str
) -> None:
    text = headrace.plain(*words.split(), "--help").text
    assert "Example" in text
    assert f"headrace {words.split(maxsplit=1)[0]}" in text or "topics create" in text
    assert "--json" in text
    assert "--data" in text


def test_json_is_one_document_a_line(headrace: Command) -> None:
    headrace.prepare(_fill)
    ids = [task(1).dequeued, task(2, plugin="other").dequeued]
    lines = headrace("tasks hold", *ids, "--json").lines
    assert [json.loads(line)["id"] for line in lines] == ids

"""The pages of plugins: what they show, their buttons without script, and names that are no markup."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from pipeline.events.parked import ParkedEntry, decode_parked, entry_id
from pipeline.events.task import decode_task
from pipeline.hub.changelogs import PARKED, changelog_topic
from pipeline.hub.tasks import State, Task
from pipeline.log.port import NewRecord
from pipeline.objects.keys import parked_key
from tests.web.fetching import fetch
from tests.web.html import Page, assert_harmless, assert_labelled, load, press
from tests.web.site import PREFIX, Site, task
from tests.web.test_pages import HOSTILE

TASKS = f"azul.{PREFIX}.system.task"
KEY = "plug-1.2-binary-allsrc-alltype-LH"
STATES: tuple[State, ...] = ("running", "waiting", "offered", "held")


def mine(number: int, *, state: State = "running", key: str = KEY) -> Task:
    """Make a task of the plugin that `consume` registers."""
    return msgspec.structs.replace(task(number, plugin="plug", state=state), consumer_key=key)


async def consume(site: Site, name: str = "plug", **query: Any) -> str:
    """Have a plugin ask; return its key."""
    asked = {"kind": "active", "r_live": "true", "r_historic": "true", **query}
    await fetch(site.client, site.url, name=name, **asked)
    shown = await site.json("/api/consumers", params={"name": name})
    return str(shown["consumers"][0]["key"])


async def park(site: Site, lost: Task) -> ParkedEntry:
    """Park a lost task, as agent `track` would."""
    name = entry_id("track", TASKS, 0, lost.offset)
    entry = ParkedEntry(
        id=name,
        agent="track",
        topic=TASKS,
        partition=0,
        offset=lost.offset,
        key=lost.task.encode(),
        reason="LostTask",
        error=f"lost 4 times: {lost.plugin}",
        object_key=parked_key(name),
        size_bytes=1,
        parked_at=1767225600.0,
    )
    await site.parts.objects.put(entry.object_key, b"{}")
    await site.parts.log.append([NewRecord(changelog_topic(PREFIX, PARKED), name.encode(), entry.encode())])
    return entry


async def told(site: Site) -> list[tuple[str, str]]:
    """Return what tasks were told."""
    events = [decode_task(record.value or b"") for record in await site.records(TASKS)]
    return [(event.kind, event.dequeued) for event in events if event.kind != "dequeued"]


def links(page: Page) -> set[str]:
    return {link for _, given in page.tags if (link := given.get("href")) and link.startswith("/")}


async def test_the_pages_say_so_when_there_is_nothing(site: Site) -> None:
    assert "None has asked for anything." in (await load(site, "/plugins")).text
    assert "None." in (await load(site, "/tasks")).text


async def test_every_plugin_is_shown_with_its_lag_and_what_is_out(site: Site) -> None:
    await site.make_tables()
    await site.submit(b"one")
    await consume(site, r_source="none", r_expedite="true")
    key = KEY.replace("allsrc", "none").replace("-LH", "-ELH")
    await site.put_tasks([mine(n, state=state, key=key) for n, state in enumerate(STATES)])
    page = await load(site, "/plugins")
    row = page.text.partition(key)[2].split()[:9]
    assert row == ["tasks", "0", "0", "\N{EN DASH}", "\N{EN DASH}", "1", "1", "1", "1"]
    assert f"/plugins/{key}" in links(page)
    shown = await load(site, f"/plugins/{key}")
    for text in ("plug 1.2", "none", f"{PREFIX}-azul-{key}-historic", site.url, "Tasks in flight 4"):
        assert text in shown.text


async def test_each_task_has_the_buttons_that_fit_its_state(site: Site) -> None:
    await site.make_tables()
    await consume(site)
    await site.put_tasks([mine(n, state=state) for n, state in enumerate(STATES)])
    for path in (f"/plugins/{KEY}", "/tasks"):
        page = await load(site, path)
        words = {}
        for number, state in enumerate(STATES):
            end = f" task {mine(number).dequeued}"
            words[state] = [b.label.removesuffix(end) for b in page.buttons if b.label.endswith(end)]
        assert words == {
            "running": ["Hold", "Requeue"],
            "waiting": ["Hurry", "Hold"],
            "offered": ["Hold", "Requeue"],
            "held": ["Release"],
        }


@pytest.mark.parametrize(
    ("state", "word"),
    [("running", "hold"), ("held", "release"), ("offered", "requeue"), ("waiting", "hurry")],
)
async def test_a_button_of_a_task_tells_it_and_the_page_says_so(
    site: Site, state: State, word: str
) -> None:
    await site.make_tables()
    await consume(site)
    await site.put_tasks([mine(1, state=state)])
    label = f"{word.capitalize()} task {mine(1).dequeued}"
    for path, marker in ((f"/plugins/{KEY}", "All plugins"), ("/tasks", "Plugins")):
        after = await press(site, await load(site, path), label)
        [notice] = [given for _, given in after.tags if given.get("role") == "status"]
        assert notice["class"] == "notice"
        assert mine(1).dequeued in after.text.partition("Tasks in flight")[0]
        assert marker in after.text, "the browser is sent back to the page it came from"
    assert await told(site) == [(word, mine(1).dequeued)] * 2


async def test_a_page_shows_its_own_tasks_and_parked_entries_and_no_others(site: Site) -> None:
    await site.make_tables()
    await consume(site)
    await consume(site, "other")
    await site.put_tasks([mine(1), task(2, plugin="other")])
    lost = await park(site, msgspec.structs.replace(mine(3), task=mine(3).task[:-3] + "1.2"))
    foreign = await park(site, task(4, plugin="other"))
    text = (await load(site, f"/plugins/{KEY}")).text
    assert mine(1).dequeued in text
    assert task(2, plugin="other").dequeued not in text
    assert lost.id[:16] in text
    assert foreign.id[:16] not in text
    everything = (await load(site, "/tasks")).text
    assert all(entry.id[:16] in everything for entry in (lost, foreign))


async def test_a_parked_task_is_replayed_from_the_page_of_its_plugin(site: Site) -> None:
    await site.make_tables()
    await consume(site)
    lost = await park(site, msgspec.structs.replace(mine(3), task=mine(3).task[:-3] + "1.2"))
    after = await press(site, await load(site, f"/plugins/{KEY}"), f"Replay entry {lost.id}")
    assert f"{lost.id} is put back" in after.text
    [word] = await site.records(f"azul.{PREFIX}.system.parked")
    assert decode_parked(word.value or b"").state == "replayed"


async def test_plugins_are_paused_and_resumed_from_their_page(site: Site) -> None:
    await consume(site)
    page = await load(site, "/plugins")
    paused = await press(site, page, "Pause plugins")
    assert "No tasks are handed out until" in paused.text
    assert "Plugins are paused." in paused.text
    assert "tasks paused" in paused.text, "the plugin is marked in the table"
    assert "Resume them" in (await load(site, "/")).text, "the start page says it too"
    assert (await site.json("/api/pause"))["state"] == "paused"
    resumed = await press(site, await load(site, f"/plugins/{KEY}"), "Resume plugins")
    assert "Tasks are handed out." in resumed.text
    assert (await site.json("/api/pause"))["state"] == "none"
    assert "Resume them" not in (await load(site, "/")).text


async def test_what_cannot_be_done_is_said_on_a_page(site: Site) -> None:
    await site.make_tables()
    await consume(site)
    await site.put_tasks([mine(1)])
    page = await load(site, f"/plugins/{KEY}")
    await site.forget_task(mine(1))
    label = f"Hold task {mine(1).dequeued}"
    problem = await press(site, page, label, status=404)
    assert "no task in flight has this id" in problem.text
    assert "none of this key" in (await load(site, "/plugins/nobody-1-binary", 404)).text
    await load(site, "/tasks?state=sleeping", 400)
    path = page.path_of(label).replace("/hold", "/kill")
    async with site.client.post(site.url + path) as response:
        assert response.status == 404
    assert await told(site) == []


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_no_button_can_be_pressed_from_a_foreign_page(site: Site, headers: dict[str, str]) -> None:
    await site.make_tables()
    await site.put_tasks([mine(1)])
    entry = await park(site, mine(2))
    id_ = mine(1).dequeued
    for path in (
        "/plugins/pause",
        "/plugins/resume",
        f"/tasks/{id_}/hold",
        f"/parked/{entry.id}/replay",
        "/api/pause",
        "/api/resume",
    ):
        await site.json(path, method="POST", status=403, headers=headers)
    assert (await site.json("/api/pause"))["state"] == "none"
    assert await told(site) == []


async def test_a_button_sends_nobody_to_another_site(site: Site) -> None:
    await site.make_tables()
    await site.put_tasks([mine(1)])
    for consumer in ("//evil.example", "http://evil.example/", "..\\", "\r\nSet-Cookie: a=b"):
        path = f"/tasks/{mine(1).dequeued}/hold?consumer={quote(consumer, safe='')}"
        async with site.client.post(site.url + path, allow_redirects=False) as response:
            assert response.status == 303
            place = response.headers["Location"]
            assert place.startswith(f"/plugins/{quote(consumer, safe='')}?")
            assert "Set-Cookie" not in response.headers


async def test_names_of_plugins_are_text_and_lead_to_their_pages(site: Site) -> None:
    await site.make_tables()
    for number, name in enumerate(HOSTILE):
        key = await consume(site, name, version=name, deployment_key=name, filter="a.b", r_source=name)
        row = msgspec.structs.replace(task(number, plugin=name), version=name, consumer_key=key)
        event = msgspec.Raw(msgspec.json.encode({"entity": {"sha256": name}}))
        await site.put_tasks([msgspec.structs.replace(row, event=event)])
    pages = [await load(site, "/plugins"), await load(site, "/tasks")]
    shown = {link for link in links(pages[0]) if link.startswith("/plugins/")}
    assert len(shown) == len(HOSTILE)
    pages += [await load(site, link) for link in sorted(shown)]
    for page in pages:
        assert_harmless(page)
        assert_labelled(page)
    for name in HOSTILE:
        seen = name.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b").replace("\x00", "\\x00")
        seen = " ".join(seen.split())
        for page in pages[:2]:
            assert page.text.count(seen) >= 2, name
    for page in pages[2:]:
        [hold] = [button.label for button in page.buttons if button.label.startswith("Hold")]
        assert "told to hold" in (await press(site, page, hold)).text


async def test_every_link_of_the_pages_leads_somewhere(site: Site) -> None:
    await site.make_tables()
    await consume(site, "a/b c%d<e>")
    for number in range(3):
        await consume(site, version=f"1.{number}")
    answer = await site.submit(b"linked")
    await site.index_events()
    about = msgspec.Raw(msgspec.json.encode({"entity": {"sha256": answer["sha256"]}}))
    await site.put_tasks(
        [
            msgspec.structs.replace(mine(n, key="plug-1.0-binary-allsrc-alltype-LH"), event=about)
            for n in range(120)
        ]
    )
    for number in range(60):
        await park(site, msgspec.structs.replace(mine(number), task=f"{number:032x}.plug.1.0"))
    seen, ahead = set(), ["/plugins", "/plugins?limit=2", "/tasks"]
    while ahead:
        path = ahead.pop()
        if path in seen:
            continue
        seen.add(path)
        async with site.client.get(site.url + path) as response:
            assert response.status == 200, path
            text = await response.text()
        if path.startswith(("/plugins", "/tasks")):
            page = Page(text)
            assert_labelled(page)
            for _, given in page.tags:
                link = (given.get("href") or "").partition("#")[0]
                if link.startswith("?"):
                    link = path.partition("?")[0] + link
                if link.startswith(("/plugins", "/tasks", "/objects", "/static")):
                    ahead.append(link)
    tasks = {path for path in seen if "tasks_after" in path}
    assert len(tasks) >= 4, "the pages of tasks go on to their end"
    assert any("parked_after" in path for path in seen)
    assert any("limit=2" not in path and "?name=&after=" in path for path in seen)

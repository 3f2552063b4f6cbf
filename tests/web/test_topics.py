"""Topics over HTTP."""

from __future__ import annotations

from pipeline.log.port import NewRecord, TopicSpec
from tests.web.site import SOURCED, Site


async def test_our_topics_are_listed_with_their_records_and_those_of_others_are_not(site: Site) -> None:
    old = "azul.test01.removed.binary.sourced"
    await site.parts.log.create_topics([TopicSpec(old, 3), TopicSpec("azul.test0.of.others")])
    await site.parts.log.append([NewRecord(old, None, b"x", partition=n % 3) for n in range(5)])
    await site.submit(b"one")
    topics = {topic["name"]: topic for topic in (await site.json("/api/topics"))["topics"]}
    assert topics[SOURCED]["records"] == 1
    assert topics[SOURCED]["planned"]
    assert topics[SOURCED]["config"]["cleanup.policy"] == "compact"
    assert (topics[old]["partitions"], topics[old]["records"]) == (3, 5)
    assert not topics[old]["planned"]
    assert "azul.test0.of.others" not in topics
    assert {spec.name for spec in site.parts.topics.specs} <= topics.keys()


async def test_creating_topics_that_exist_changes_nothing(site: Site) -> None:
    before = await site.json("/api/topics")
    assert await site.json("/api/topics", method="POST") == {"created": []}
    assert await site.json("/api/topics") == before
    assert before["missing"] == []

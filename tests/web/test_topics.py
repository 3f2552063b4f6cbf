"""Topics over HTTP."""

from __future__ import annotations

from pipeline.log.port import NewRecord, TopicSpec
from tests.web.site import SOURCED, Site


async def test_every_topic_is_listed_with_its_records(site: Site) -> None:
    await site.parts.log.create_topics([TopicSpec("elsewhere", 3)])
    await site.parts.log.append([NewRecord("elsewhere", None, b"x", partition=n % 3) for n in range(5)])
    await site.submit(b"one")
    topics = {topic["name"]: topic for topic in (await site.json("/api/topics"))["topics"]}
    assert topics[SOURCED]["records"] == 1
    assert topics[SOURCED]["planned"]
    assert topics[SOURCED]["config"]["cleanup.policy"] == "compact"
    assert (topics["elsewhere"]["partitions"], topics["elsewhere"]["records"]) == (3, 5)
    assert not topics["elsewhere"]["planned"]
    assert {spec.name for spec in site.parts.topics.specs} <= topics.keys()


async def test_creating_topics_that_exist_changes_nothing(site: Site) -> None:
    before = await site.json("/api/topics")
    assert await site.json("/api/topics", method="POST") == {"created": []}
    assert await site.json("/api/topics") == before
    assert before["missing"] == []

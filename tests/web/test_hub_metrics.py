"""Metrics under the names, types, labels and bounds of the dispatcher contract, section 20."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline import limits, metrics_hub
from tests.agents.installation import until
from tests.events.samples import BINARY, COMMON, SOURCE, STATUS
from tests.web.exposed import Exposed, Series, scrape, series
from tests.web.fetching import fetch, post
from tests.web.site import Site, opened

EVENT = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1, 5, 10)
REQUEST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
PLUGIN = (*REQUEST[:10], 30, 60, 120, 300, 600, 1200, 1800, 2400)


class Metric(NamedTuple):
    """A metric as the contract lists it."""

    kind: str
    labels: str = ""
    bounds: tuple[float, ...] = ()


CONTRACT = {
    "dispatcher_event_fetch_requests_total": Metric("counter", "plugin entity"),
    "dispatcher_events_fetched_total": Metric("counter", "plugin entity"),
    "dispatcher_events_filtered_total": Metric("counter", "plugin entity"),
    "dispatcher_events_consume_duration": Metric("histogram", "stage", EVENT),
    "dispatcher_events_consume_pipelines_duration": Metric("histogram", "pipeline", EVENT),
    "dispatcher_events_consume_pipelines_removed": Metric("counter", "pipeline"),
    "dispatcher_events_consume_pipelines_error": Metric("counter", "pipeline"),
    "dispatcher_events_consume_not_ready": Metric("gauge", "plugin version"),
    "dispatcher_events_published_total": Metric("counter", "plugin entity"),
    "dispatcher_events_status_published": Metric("counter", "plugin status"),
    "dispatcher_events_produce_duration": Metric("histogram", "stage", EVENT),
    "dispatcher_events_produce_pipelines_duration": Metric("histogram", "pipeline", EVENT),
    "dispatcher_events_produce_pipelines_removed": Metric("counter", "pipeline"),
    "dispatcher_events_produce_pipelines_added": Metric("counter", "pipeline"),
    "dispatcher_events_produce_pipelines_error": Metric("counter", "pipeline"),
    "dispatcher_events_produce_bad_version": Metric("counter", "entity version author"),
    "dispatcher_events_redis_tracking": Metric("gauge", "origin"),
    "dispatcher_events_redis_tracking_control": Metric("counter", "origin"),
    "dispatcher_kafka_consumed_message_bytes_total": Metric("gauge", "name group topic"),
    "dispatcher_kafka_rebalance_count": Metric("counter", "name group"),
    "dispatcher_kafka_consumer_restart_count": Metric("counter", "name group kerrorCode"),
    "dispatcher_kafka_produced_message_bytes_total": Metric("gauge", "topic"),
    "dispatcher_kafka_produced_message_error_total": Metric("counter", "topic"),
    "dispatcher_dedupe_lookups_total": Metric("counter"),
    "dispatcher_dedupe_hits_total": Metric("counter"),
    "dispatcher_dedupe_collisions_total": Metric("counter"),
    "dispatcher_replay_cache_hit_count": Metric("gauge", "name"),
    "dispatcher_replay_cache_hit_seconds": Metric("gauge", "name"),
    "dispatcher_processing_time_seconds": Metric("histogram", "publisher", PLUGIN),
    "dispatcher_restapi_time_seconds": Metric("histogram", "method path", REQUEST),
    "dispatcher_restapi_response_codes": Metric("counter", "method path code"),
    "dispatcher_data_exist_requests_total": Metric("counter"),
    "dispatcher_data_upload_requests_total": Metric("counter"),
    "dispatcher_data_uploaded_bytes_total": Metric("counter"),
    "dispatcher_data_download_requests_total": Metric("counter"),
    "dispatcher_data_downloaded_bytes_total": Metric("counter"),
    "dispatcher_data_delete_requests_total": Metric("counter"),
    "dispatcher_metadata_requests_total": Metric("counter"),
    "dispatcher_data_cache_lookups_total": Metric("counter"),
    "dispatcher_data_cache_hits_total": Metric("counter"),
    "dispatcher_identify_fail": Metric("counter", "mime magic"),
    "dispatcher_streams_op_duration": Metric("histogram", "method result", REQUEST),
    "reprocessor_eof": Metric("gauge", "source_topic"),
    "reprocessor_event_count": Metric("counter", "source_topic"),
}
UNSEEN = {
    "dispatcher_events_produce_pipelines_removed": metrics_hub.PRODUCE_REMOVED,
    "dispatcher_kafka_rebalance_count": metrics_hub.REBALANCES,
    "dispatcher_kafka_consumer_restart_count": metrics_hub.RESTARTS,
    "dispatcher_kafka_produced_message_error_total": metrics_hub.PRODUCE_FAILED,
    "dispatcher_replay_cache_hit_count": metrics_hub.REPLAYED,
    "dispatcher_replay_cache_hit_seconds": metrics_hub.REPLAYED_SECONDS,
    "dispatcher_events_redis_tracking": metrics_hub.TRACKED,
    "dispatcher_events_redis_tracking_control": metrics_hub.TRACKING,
    "dispatcher_events_produce_bad_version": metrics_hub.BAD_VERSION,
    "reprocessor_eof": metrics_hub.REPROCESS_EOF,
    "reprocessor_event_count": metrics_hub.REPROCESS_EVENTS,
}
"""What nothing moves that this file does in one go; their series are made by hand."""
RESULT = {**BINARY, "action": "enriched", "entity": {"sha256": "aa"}}
STREAMS = "/api/v3/stream/{source}/{label}"
STREAM = STREAMS + "/{sha256}"
ACTIVE = "/api/v2/event/{model}/active"
EVENTS = "/api/v2/event"
DATA = b"\x01\x02\x03" * 8
"""Of no known format."""


async def publish(site: Site) -> None:
    """Publish three binary events, and four statuses, one of which has two results."""
    await post(site.client, site.url, "binary", [BINARY, RESULT, {**BINARY, "author": {"name": "feed"}}])
    task = STATUS["entity"]["input"]
    completed = {"status": "completed", "runtime": 1.5, "input": task, "results": [RESULT, RESULT]}
    heartbeat = {"status": "heartbeat", "input": task, "runtime": 1.0}
    made_up = {"status": "made up", "input": task}
    said = [{**STATUS, "entity": entity} for entity in (completed, heartbeat, made_up)]
    by_user = {**STATUS, "author": {"name": "bob", "category": "user"}}
    await post(site.client, site.url, "status", [*said, by_user])


async def take(site: Site, **more: Any) -> None:
    """Fetch the two sourced events as tasks, not the three enriched ones."""
    asked = {"r_historic": "true", "count": 10, "d_action": "enriched", **more}
    assert len((await fetch(site.client, site.url, kind="active", **asked)).events) == 2


async def use_streams(site: Site) -> None:
    """Upload a stream, ask for one that is not there, and upload nothing."""
    place = f"{site.url}{STREAMS.format(source='testing', label='content')}"
    async with site.client.post(place, data=DATA) as response:
        assert (await response.json())["data"]["file_format"] == "unknown"
    async with site.client.get(f"{place}/{'0' * 64}") as response:
        assert response.status == 404
    async with site.client.post(place) as response:
        assert response.status == 400


def changes(before: Exposed, after: Exposed, *names: str) -> dict[Series, float]:
    """Return by how much counters and the counts of histograms have grown."""
    return {
        sample: change
        for sample, change in after.since(before).items()
        if sample[0].removesuffix("_count") in names or sample[0] in names
    }


async def test_names_types_labels_and_bounds_are_the_contracts_and_there_are_no_others(site: Site) -> None:
    for name, metric in UNSEEN.items():
        metric.labels(**dict.fromkeys(CONTRACT[name].labels.split(), "-"))
    await publish(site)
    await take(site)
    await use_streams(site)
    seen = await scrape(site)
    types = {
        name: kind for name, kind in seen.types.items() if name.startswith(("dispatcher_", "reprocessor_"))
    }
    assert types == {name: each.kind for name, each in CONTRACT.items()}
    for name in types:
        wanted = CONTRACT[name]
        assert seen.labels(name) == {frozenset(wanted.labels.split())}, name
        assert seen.bounds(name) == [*wanted.bounds, *([float("inf")] if wanted.bounds else [])], name


async def test_publishing_is_counted_by_author_and_step(site: Site) -> None:
    before = await scrape(site)
    await publish(site)
    after = await scrape(site)
    published, statuses = "dispatcher_events_published_total", "dispatcher_events_status_published"
    seconds, added = "dispatcher_processing_time_seconds", "dispatcher_events_produce_pipelines_added"
    assert changes(before, after, published, statuses, seconds, added) == {
        series(published, plugin="plug", entity="binary"): 2,
        series(published, plugin="feed", entity="binary"): 1,
        series(published, plugin="plug", entity="status"): 3,
        series(published, plugin="bob", entity="status"): 1,
        series(statuses, plugin="plug", status="completed"): 1,
        series(statuses, plugin="plug", status="heartbeat"): 1,
        series(statuses, plugin="plug", status="other"): 1,
        series(f"{seconds}_count", publisher="plug"): 1,
        series(f"{seconds}_count", publisher="bob"): 1,
        series(added, pipeline="ProduceStatusResults"): 2,
    }
    worked = series(f"{seconds}_sum", publisher="plug")
    assert after.values[worked] - before.values.get(worked, 0) == pytest.approx(1.5)


async def test_stages_and_steps_of_a_publish_are_timed_once_a_request(site: Site) -> None:
    before = await scrape(site)
    await publish(site)
    after = await scrape(site)
    stages, steps = "dispatcher_events_produce_duration", "dispatcher_events_produce_pipelines_duration"
    named = (
        *("PipelineAgeoff", "ProduceStatusResults", "InjectId"),
        *("FilterPreviouslyDeleted", "SourceSettingRemoval"),
    )
    assert changes(before, after, stages, steps) == {
        **{series(f"{stages}_count", stage=name): 2 for name in ("buffer", "transform", "produce")},
        **{series(f"{steps}_count", pipeline=name): 2 for name in named},
    }


async def test_what_the_pipeline_drops_is_counted_and_not_as_published(tmp_path: Path) -> None:
    sources = {"testing": {"expire_events_after": "7 days"}}
    old = {**BINARY, "source": {**SOURCE, "timestamp": "2020-01-01T00:00:00Z"}}
    async with opened(tmp_path, events={"sources": sources}) as site:
        before = await scrape(site)
        query = {"params": {"model": "binary"}, "data": json.dumps([old, old]).encode()}
        await site.json(EVENTS, method="POST", status=425, **query)
        after = await scrape(site)
    removed = "dispatcher_events_produce_pipelines_removed"
    assert changes(before, after, removed, "dispatcher_events_published_total") == {
        series(removed, pipeline="PipelineAgeoff"): 2
    }


async def test_fetching_is_counted_by_consumer_and_step(site: Site) -> None:
    await publish(site)
    before = await scrape(site)
    await take(site)
    after = await scrape(site)
    requests, fetched = "dispatcher_event_fetch_requests_total", "dispatcher_events_fetched_total"
    filtered, removed = "dispatcher_events_filtered_total", "dispatcher_events_consume_pipelines_removed"
    plug = {"plugin": "plug", "entity": "binary"}
    assert changes(before, after, requests, fetched, filtered, removed) == {
        series(requests, **plug): 1,
        series(fetched, **plug): 2,
        series(filtered, **plug): 3,
        series(removed, pipeline="FilterConsumerRules"): 3,
    }


async def test_stages_and_steps_of_a_fetch_are_timed_once_a_request(site: Site) -> None:
    await publish(site)
    before = await scrape(site)
    await take(site, filter="action")
    after = await scrape(site)
    stages, steps = "dispatcher_events_consume_duration", "dispatcher_events_consume_pipelines_duration"
    assert changes(before, after, stages) == {
        series(f"{stages}_count", stage=name): 1
        for name in ("read_from_kafka", "upgrade_event", "run_pipelines", "metadata")
    }
    timed = {dict(labels)["pipeline"]: by for (_, labels), by in changes(before, after, steps).items()}
    named = ("PipelineAgeoff", "FilterPreviouslyDeleted", "FilterConsumerRules", "FilterExpression")
    assert {name: timed[name] for name in named} == dict.fromkeys(named, 1)
    assert set(timed.values()) == {1}


async def test_a_consumer_that_reads_nothing_shows_until_it_reads(site: Site) -> None:
    async def not_ready(**query: str) -> float:
        await fetch(site.client, site.url, name="late", version="7", r_historic="true", **query)
        gauge = series("dispatcher_events_consume_not_ready", plugin="late", version="7")
        return (await scrape(site)).values[gauge]

    assert await not_ready(r_source="nowhere", r_live="true") == 2
    assert await not_ready() == 0


async def test_an_event_no_step_can_judge_counts_as_an_error_of_the_step(site: Site) -> None:
    many = {**RESULT, "entity": {"sha256": "aa", "info": {"a" * 1000 + str(n): 1 for n in range(1000)}}}
    await post(site.client, site.url, "binary", [many])
    before = await scrape(site)
    wanted = {"r_historic": "true", "filter": "entity.info.*" + "?" * 400 + "b"}
    assert (await fetch(site.client, site.url, **wanted)).info["filters"] == {"FilterExpression-error": 1}
    after = await scrape(site)
    errors, removed = (f"dispatcher_events_consume_pipelines_{name}" for name in ("error", "removed"))
    assert changes(before, after, errors, removed) == {
        series(errors, pipeline="FilterExpression"): 1,
        series(removed, pipeline="FilterExpression"): 1,
    }


async def test_answers_are_counted_by_route_with_their_true_code(site: Site) -> None:
    before = await scrape(site)
    await publish(site)
    await take(site)
    await use_streams(site)
    for path, status in ((f"{EVENTS}/made-up/active", 422), (f"{EVENTS}/made/up/path", 404)):
        async with site.client.get(site.url + path) as response:
            assert response.status == status
    async with site.client.request("PROPFIND", f"{site.url}{EVENTS}") as response:
        assert response.status == 404
    async with site.client.get(f"{site.url}/healthz") as response:
        assert response.status == 200
    after = await scrape(site)
    codes, seconds = "dispatcher_restapi_response_codes", "dispatcher_restapi_time_seconds"
    counted = {
        ("POST", EVENTS, "200"): 2,
        ("GET", ACTIVE, "200"): 1,
        ("GET", ACTIVE, "422"): 1,
        ("POST", STREAMS, "200"): 1,
        ("POST", STREAMS, "400"): 1,
        ("GET", STREAM, "404"): 1,
        ("GET", "unknown", "404"): 1,
        ("other", "unknown", "404"): 1,
    }
    assert changes(before, after, codes) == {
        series(codes, method=method, path=path, code=code): count
        for (method, path, code), count in counted.items()
    }
    assert sum(changes(before, after, seconds).values()) == sum(counted.values())
    assert changes(before, after, seconds)[series(f"{seconds}_count", method="POST", path=STREAMS)] == 2


async def test_a_stream_of_no_known_format_is_counted_by_what_it_seems_to_be(site: Site) -> None:
    before = await scrape(site)
    await use_streams(site)
    after = await scrape(site)
    failed = series("dispatcher_identify_fail", mime="application/octet-stream", magic="data")
    assert changes(before, after, failed[0]) == {failed: 1}


async def test_bytes_of_the_log_are_counted_by_topic(site: Site) -> None:
    before = await scrape(site)
    await publish(site)
    after = await scrape(site)
    produced = "dispatcher_kafka_produced_message_bytes_total"
    for topic, records in (("testing.binary.sourced", 2), ("testing.binary.enriched", 3)):
        topic = f"azul.{site.prefix}.{topic}"  # noqa: PLW2901 - the same topic, in full
        stored = await site.records(topic)
        assert len(stored) == records
        size_bytes = sum(len(record.key or b"") + len(record.value or b"") for record in stored)
        assert changes(before, after, produced)[series(produced, topic=topic)] == size_bytes


async def test_what_the_hub_follows_for_itself_is_counted(site: Site) -> None:
    delete = {**COMMON, "action": "ids", "entity": {"reason": "test", "ids": {"ids": ["k"]}}}
    await post(site.client, site.url, "delete", [delete])
    topic = f"azul.{site.prefix}.system.delete"
    [record] = await site.records(topic)
    name = "dispatcher_kafka_consumed_message_bytes_total"
    consumed = series(name, name="delete", group="", topic=topic)

    async def followed() -> bool:
        return (await scrape(site)).values.get(consumed, 0) >= len(record.value or b"")

    await until(followed)


@pytest.mark.parametrize("name", ["x" * 129, "two\nlines", "\u202eright to left", "a\x00b"])
async def test_names_that_are_none_are_counted_together(site: Site, name: str) -> None:
    before = await scrape(site)
    await post(site.client, site.url, "binary", [{**BINARY, "author": {"name": name}}])
    await fetch(site.client, site.url, name=name, r_historic="true")
    after = await scrape(site)
    published, requests = "dispatcher_events_published_total", "dispatcher_event_fetch_requests_total"
    assert changes(before, after, published, requests) == {
        series(published, plugin="other", entity="binary"): 1,
        series(requests, plugin="other", entity="binary"): 1,
    }


def test_what_is_no_text_never_reaches_the_page() -> None:
    names = metrics_hub.Names()
    assert names.counted_as("\udcff", "1") == ("other", "other")
    assert names.counted_as("entropy", "1") == ("entropy", "1")


async def test_no_number_of_names_makes_the_metrics_grow_without_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = metrics_hub.Names()
    monkeypatch.setattr(limits, "METRIC_NAMES_MAX", 2)
    monkeypatch.setattr("pipeline.hub.counts.PLUGINS", names)
    before = await scrape(site)
    events = [{**BINARY, "author": {"name": f"many{number}"}} for number in range(5)]
    await post(site.client, site.url, "binary", events)
    after = await scrape(site)
    published = "dispatcher_events_published_total"
    assert changes(before, after, published) == {
        series(published, plugin="many0", entity="binary"): 1,
        series(published, plugin="many1", entity="binary"): 1,
        series(published, plugin="other", entity="binary"): 3,
    }

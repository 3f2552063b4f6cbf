"""Publishing as clients of the dispatcher do it (dispatcher contract, sections 3, 8, 9, 27)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import limits
from pipeline.events.avro import encode_avro_bulk
from pipeline.events.codec import decode_posted
from tests.events.samples import BINARY, BY_MODEL, DELETE, NODE, SOURCE, STATUS
from tests.web.site import PREFIX, SOURCED, Site, opened

EVENT = "/api/v2/event"
EXAMPLE = {
    "model_version": 6,
    "kafka_key": "tmp",
    "timestamp": "2026-11-01T10:20:30.123456+00:00",
    "action": "enriched",
    "author": {"name": "p"},
    "source": {
        "name": "testing",
        "timestamp": "2026-01-01T00:00:00Z",
        "path": [
            {
                "sha256": "q",
                "action": "enriched",
                "author": {"name": "p"},
                "timestamp": "2026-01-01T00:00:00Z",
            }
        ],
    },
    "entity": {"sha256": "q", "info": {"a": 1.5}},
}


async def publish(
    site: Site, model: str, events: Any, *, status: int = 200, **query: Any
) -> dict[str, Any]:
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    how: dict[str, Any] = {"params": {"model": model, **query}, "data": io.BytesIO(body)}
    answer = await site.json(EVENT, method="POST", status=status, **how)
    assert isinstance(answer, dict)
    if status != 200:
        assert set(answer) <= {"status", "title", "detail", "error_enum"}, "clients forbid further fields"
        assert answer["status"] == str(status)
    return answer


async def stored(site: Site, topic: str) -> list[Any]:
    return [json.loads(record.value or b"null") for record in await site.records(f"azul.{PREFIX}.{topic}")]


async def test_the_worked_example_of_a_publish(site: Site) -> None:
    answer = await publish(site, "binary", [EXAMPLE], sync="true", include_ok="true")
    assert answer == {
        "total_ok": 1,
        "total_failures": 0,
        "failures": [],
        "ok": [
            {
                "model_version": 6,
                "kafka_key": "a016528e3fee225dd6c1693fb67376ea",
                "timestamp": "2026-11-01T10:20:30.123456Z",
                "author": {"name": "p"},
                "source": {
                    "name": "testing",
                    "path": [
                        {
                            "author": {"name": "p"},
                            "action": "enriched",
                            "sha256": "q",
                            "timestamp": "2026-01-01T00:00:00Z",
                        }
                    ],
                    "timestamp": "2026-01-01T00:00:00Z",
                },
                "entity": {"sha256": "q", "info": {"a": 1.5}},
                "action": "enriched",
                "flags": {},
                "track_source_references": "testing.d41d8cd98f00b204e9800998ecf8427e",
                "track_authors": [".p."],
            }
        ],
    }
    assert await stored(site, "testing.binary.enriched") == answer["ok"]


async def test_the_worked_example_of_a_completion(site: Site) -> None:
    task = {**BINARY, "dequeued": "0f51fe52ec5dde5eb7d96bbb28aa9534.plug.1.2.1795252636"}
    task["flags"] = {"expedite": False, "bypass_cache": True, "retry": True}
    entity = {"status": "completed", "runtime": 1.5, "input": task, "results": [EXAMPLE, EXAMPLE]}
    await publish(site, "status", [{**STATUS, "entity": entity}])
    [status] = await stored(site, "system.status")
    assert status["kafka_key"] == "91d2a6f20f67fde313a580760520b85d"
    assert "results" not in status["entity"]
    results = await stored(site, "testing.binary.enriched")
    assert [result["flags"] for result in results] == [{"bypass_cache": True}] * 2


async def test_results_of_a_failed_status_stay_in_it(site: Site) -> None:
    entity = {**STATUS["entity"], "status": "error-exception", "results": [EXAMPLE]}
    await publish(site, "status", {**STATUS, "entity": entity})
    [status] = await stored(site, "system.status")
    assert len(status["entity"]["results"]) == 1
    assert await stored(site, "testing.binary.enriched") == []


@pytest.mark.parametrize("model", sorted(BY_MODEL))
async def test_every_model_is_stored_on_its_topic(site: Site, model: str) -> None:
    answer = await publish(site, model, BY_MODEL[model], include_ok="1")
    topic = "testing.binary.sourced" if model == "binary" else f"system.{model}"
    [event] = await stored(site, topic)
    assert event["kafka_key"] == answer["ok"][0]["kafka_key"] != "tmp"


@pytest.mark.parametrize(
    ("flags", "topic"),
    [({"expedite": True, "retry": True}, "system.expedite"), ({"retry": True}, "system.error")],
)
async def test_flags_choose_the_topic(site: Site, flags: dict[str, bool], topic: str) -> None:
    await publish(site, "binary", {**BINARY, "flags": flags})
    assert len(await stored(site, topic)) == 1
    assert await stored(site, "testing.binary.sourced") == []


async def test_an_invalid_event_fails_alone(site: Site) -> None:
    invalid = {**BINARY, "author": {"name": ""}}
    elsewhere = {**BINARY, "source": {**SOURCE, "name": "nowhere"}}
    answer = await publish(site, "binary", [BINARY, invalid, elsewhere], include_ok="yes")
    assert (answer["total_ok"], answer["total_failures"]) == (1, 2)
    assert [json.loads(failure["event"]) for failure in answer["failures"]] == [invalid, elsewhere]
    first, second = (failure["error"] for failure in answer["failures"])
    assert first == "innerNewMsgInFlight event is missing 'author' field"
    assert "'nowhere'" in second
    assert "ok" not in answer, "only true and 1 switch a flag on"
    assert len(await stored(site, "testing.binary.sourced")) == 1


async def test_a_request_with_nothing_valid_in_it_is_filtered(site: Site) -> None:
    answer = await publish(site, "binary", {**BINARY, "action": "eaten"}, status=425)
    assert answer["title"] == "All events to be published have been filtered out"
    assert answer["error_enum"] == "ErrorStringEnumAllEventsFiltered"
    assert "eaten" in answer["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"no JSON",
        b'[{"model_version": 6, "author": []}]',
        json.dumps([BINARY, {**BINARY, "model_version": 5}]).encode(),
        json.dumps({**BINARY, "model_version": 7}).encode(),
    ],
)
async def test_something_undecodable_or_outdated_fails_the_whole_request(site: Site, body: bytes) -> None:
    answer = await publish(site, "binary", body, status=422)
    assert answer["title"] == "PostEvent TransformEvents invalid events"
    assert await stored(site, "testing.binary.sourced") == []


async def test_white_space_before_a_list_does_no_harm(site: Site) -> None:
    answer = await publish(site, "binary", b" \n" + json.dumps([BINARY]).encode())
    assert answer["total_ok"] == 1


async def test_an_empty_body_and_an_unknown_model_are_told(site: Site) -> None:
    assert (await publish(site, "binary", b"", status=400))["title"] == "Empty Request"
    answer = await publish(site, "bin", [BINARY], status=400)
    assert answer["title"] == "not a registered model type"
    assert answer["error_enum"] == "ErrorStringEnumUnset"


async def test_what_has_aged_off_is_not_published(tmp_path: Path) -> None:
    sources = {"testing": {"expire_events_after": "7 days"}}
    old = {**BINARY, "source": {**SOURCE, "timestamp": "2020-01-01T00:00:00Z"}}
    async with opened(tmp_path, events={"sources": sources}) as site:
        answer = await publish(site, "binary", [old], status=425)
        status = {**STATUS, "entity": {**STATUS["entity"], "input": {**old, "dequeued": "k.p.1.2"}}}
        await publish(site, "status", [status], status=425)
    assert answer == {
        "status": "425",
        "title": "All events to be published have been filtered out",
        "detail": "all submitted events aged off immediately, is the submission time older than ageoff?",
        "error_enum": "ErrorStringEnumAllEventsAgedOffImmediately",
    }


@pytest.mark.parametrize("by", ["ids", "link", "author", "submission"])
async def test_what_was_deleted_is_not_published_again(site: Site, by: str) -> None:
    child = {**NODE, "sha256": "bb", "action": "extracted"}
    source = {**SOURCE, "path": [NODE, child]}
    event = {**BINARY, "action": "extracted", "source": source}
    first = (await publish(site, "binary", event, include_ok="true"))["ok"][0]
    entity: dict[str, Any] = {
        "ids": {"ids": {"ids": [first["kafka_key"]]}},
        "link": {"link": {"track_link": first["track_links"][0]}},
        "author": {
            "author": {"track_author": first["track_authors"][1], "timestamp": "2030-01-01T00:00:00Z"}
        },
        "submission": {"submission": {"track_source_references": first["track_source_references"]}},
    }[by]
    await publish(site, "delete", {**DELETE, "action": by, "entity": entity})
    while True:  # the deletion is followed a moment late
        async with site.client.post(site.url + EVENT, params={"model": "binary"}, json=event) as response:
            if response.status != 200:
                break
    assert response.status == 425
    answer = await publish(site, "binary", [event, {**BINARY, "author": {}}], status=425)
    assert "FilterPreviouslyDeleted:1" in answer["detail"]


async def test_settings_of_a_source_reach_no_deeper_than_they_say(site: Site) -> None:
    settings = {"remove_at_depth": "1", "password": "infected"}
    with_settings = {**BINARY, "source": {**SOURCE, "settings": settings}}
    answer = await publish(site, "binary", [with_settings, BINARY], include_ok="true")
    lighter, plain = answer["ok"]
    assert "settings" not in lighter["source"]
    assert lighter["kafka_key"] != plain["kafka_key"], "they are part of the key all the same"


async def test_events_that_cannot_be_written_are_told_and_the_others_are(site: Site) -> None:
    entity = {**BINARY["entity"], "info": "x" * limits.EVENT_MAX_BYTES}
    answer = await publish(site, "binary", [BINARY, {**BINARY, "entity": entity}], status=500)
    assert answer["title"] == "failed ProduceAnyEvents"
    assert answer["detail"].startswith("successfully submitted 1/2 events")
    assert len(await site.records(SOURCED)) == 1


async def test_many_events_at_once_keep_their_order(site: Site) -> None:
    events = [{**BINARY, "source": {**SOURCE, "references": {"number": f"{n}"}}} for n in range(500)]
    answer = await publish(site, "binary", events, include_ok="true")
    numbers = [event["source"]["references"]["number"] for event in answer["ok"]]
    assert numbers == [f"{n}" for n in range(500)]
    assert len(await site.records(SOURCED)) == 500


async def test_a_slash_too_many_is_sent_to_the_path_without(site: Site) -> None:
    url = f"{site.url}{EVENT}/"
    for method, status in (("GET", 301), ("POST", 307)):
        async with site.client.request(
            method, url, params={"model": "binary"}, allow_redirects=False
        ) as answer:
            assert (answer.status, answer.headers["Location"]) == (status, f"{EVENT}?model=binary")


async def test_an_avro_bulk_is_published_as_the_same_events_in_json_are(site: Site) -> None:
    events = decode_posted("binary", json.dumps([BINARY, EXAMPLE]).encode()).events
    invalid = msgspec.structs.replace(events[0], action="eaten")
    bulk = encode_avro_bulk("binary", [*events, invalid])
    avro: dict[str, Any] = {"avro-format": "true"}
    answer = await publish(site, "binary", bulk, **avro)
    assert (answer["total_ok"], answer["total_failures"]) == (2, 1)
    assert "eaten" in answer["failures"][0]["error"]
    again = await publish(site, "binary", [BINARY, EXAMPLE], include_ok="true")
    stored_twice = await stored(site, "testing.binary.sourced") + await stored(
        site, "testing.binary.enriched"
    )
    assert [event["kafka_key"] for event in stored_twice] == [
        event["kafka_key"] for event in again["ok"] for _ in range(2)
    ]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (json.dumps([BINARY]).encode(), "supplied events were in json format, not avro"),
        (b"\x0c\x02nonsense", "avro event did not match expected bulk schema"),
        (b"\x0c\x00", "there is no event"),
    ],
)
async def test_what_is_no_avro_bulk_is_refused(site: Site, body: bytes, why: str) -> None:
    avro: dict[str, Any] = {"avro-format": "1"}
    answer = await publish(site, "binary", body, status=422, **avro)
    assert why in answer["detail"]


async def test_paths_that_are_not_there_are_answered_as_the_hub_does(site: Site) -> None:
    for method, path in (("GET", "/api/v2/nothing"), ("DELETE", EVENT), ("GET", "/api/v1/event")):
        async with site.client.request(method, site.url + path) as response:
            assert response.status in {404, 405}
            if path != "/api/v1/event":
                assert (response.status, (await response.text()).strip()) == (404, "404 page not found")

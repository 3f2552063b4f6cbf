"""The description of the surface: every route is in it, every answer is as it says."""

from __future__ import annotations

import re
from typing import Any

from tests.web.site import Site, task


async def _document(site: Site) -> Any:
    return await site.json("/openapi.json")


async def test_every_route_is_described_and_nothing_else(site: Site) -> None:
    document = await _document(site)
    described = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    from pipeline.web.application import make_application

    routed = {
        (route.method, route.resource.canonical)
        for route in make_application(site.parts).router.routes()
        if route.resource is not None
    }
    assert described == routed


async def test_every_operation_says_what_it_does_takes_and_answers(site: Site) -> None:
    document = await _document(site)
    assert document["openapi"].startswith("3.1")
    names = []
    for path, operations in document["paths"].items():
        for operation in operations.values():
            names.append(operation["operationId"])
            assert operation["summary"]
            assert operation["tags"][0] in {tag["name"] for tag in document["tags"]}
            given = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert given == set(re.findall(r"{(\w+)}", path))
            for parameter in operation.get("parameters", ()):
                assert parameter["description"], (path, parameter["name"])
                assert parameter["schema"]
            assert "default" in operation["responses"]
    assert len(names) == len(set(names))


async def test_no_reference_leads_nowhere(site: Site) -> None:
    document = await _document(site)
    for reference in set(re.findall(r"'\$ref': '([^']+)'", str(document))):
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


async def test_answers_have_exactly_the_fields_that_are_described(site: Site) -> None:
    document = await _document(site)
    await site.make_tables()
    await site.put_tasks([task(1)])
    answer = await site.submit(b"described")
    await site.index_events()
    event = answer["event"]
    calls = {
        "/api/objects/{sha256}": f"/api/objects/{answer['sha256']}",
        "/api/events/{topic}/{partition}/{offset}": f"/api/events/{event['topic']}/0/{event['offset']}",
        "/api/search": "/api/search",
        "/api/search/groups": "/api/search/groups?field=action",
        "/api/where/{identity}": f"/api/where/{answer['sha256']}",
        "/api/tasks": "/api/tasks",
        "/api/parked": "/api/parked",
        "/api/topics": "/api/topics",
        "/api/status": "/api/status",
        "/healthz": "/healthz",
        "/readyz": "/readyz",
    }
    schemas = document["components"]["schemas"]
    for path, call in calls.items():
        content = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        got = await site.json(call)
        assert set(schema["required"]) <= set(got) <= set(schema["properties"]), path
    posted = document["paths"]["/api/objects"]["post"]["responses"]["201"]["content"]["application/json"]
    assert set(schemas[posted["schema"]["$ref"].rpartition("/")[2]]["properties"]) == set(answer)

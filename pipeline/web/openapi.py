"""The description of the web surface as an OpenAPI 3.1 document, made from the routes alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from pipeline import __version__
from pipeline.web.problems import Problem
from pipeline.web.routes import PATH_PARTS, Asked, Route

_TEMPLATE = "#/components/schemas/{name}"


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Describe every route."""
    types = [
        Problem,
        *(kind for route in routes for kind in (route.answer, route.problem) if kind is not None),
    ]
    kinds = list({repr(kind): kind for kind in types}.values())
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_TEMPLATE)
    by_kind = dict(zip(map(repr, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method in route.methods:
            operation = _operation(route, method, by_kind)
            paths.setdefault(route.path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": __version__,
            "summary": "Files and events in, answers out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(route: Route, method: str, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route, method),
        "summary": route.summary,
        "tags": [route.tag],
        "responses": _responses(route, method, schemas),
    }
    if route.text:
        operation["description"] = route.text
    parameters = [*_path_parameters(route.path), *_query_parameters(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        raw = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": dict.fromkeys(route.body, raw)}
    return operation


def _operation_id(route: Route, method: str) -> str:
    words = re.findall(r"[a-z0-9]+", route.path.lower())
    return "_".join([method.lower(), *words])


def _responses(route: Route, method: str, schemas: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.answer is not None:
        content = {route.media: {"schema": schemas[repr(route.answer)]}}
    elif route.media:
        content = {route.media: {}}
    if route.other_media:
        content[route.other_media] = {}
    problem = {"application/json": {"schema": schemas[repr(route.problem or Problem)]}}
    responses: dict[str, Any] = {}
    for status in (route.status, *route.also):
        responses[str(status)] = _response(status, content, method)
    for status in sorted(route.errors):
        responses[str(status)] = _response(status, problem, method)
    responses["default"] = {"description": "Any other failure", **_content(problem, method)}
    return responses


def _response(status: int, content: dict[str, Any], method: str) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, **_content(content, method)}


def _content(content: dict[str, Any], method: str) -> dict[str, Any]:
    return {"content": content} if content and method != "HEAD" else {}


def _path_parameters(path: str) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        schema, text = PATH_PARTS[name]
        yield {"name": name, "in": "path", "required": True, "schema": schema, "description": text}


def _query_parameters(route: Route) -> Iterable[dict[str, Any]]:
    if route.query is not None:
        yield from _declared(route.query)
    if route.free_query is not None:
        start, text = route.free_query
        names = {f"^{re.escape(start)}.+$": {"type": "string"}}
        schema = {"type": "object", "patternProperties": names, "additionalProperties": False}
        yield {
            "name": start.rstrip("."),
            "in": "query",
            "required": False,
            "style": "form",
            "explode": True,
            "schema": schema,
            "description": text,
        }


def _declared(query: type[Asked]) -> Iterable[dict[str, Any]]:
    _, components = msgspec.json.schema_components([query])
    described = components[query.__name__]
    required = set(described.get("required", ()))
    for name, full in described.get("properties", {}).items():
        schema = dict(full)
        text = schema.pop("description", "")
        yield {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": schema,
            "description": text,
        }

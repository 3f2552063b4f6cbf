"""The metrics page in Prometheus' text format."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from pipeline import metrics_archive
from pipeline.metrics import printed
from pipeline.web.routes import Nothing, Route, asked

_MEDIA = "text/plain"

_PROCESS = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=_PROCESS)
PlatformCollector(registry=_PROCESS)
GCCollector(registry=_PROCESS)


_COUNTED_ELSEWHERE = (metrics_archive,)
"""Modules whose metrics are printed, at zero, also while nothing here counts them."""


async def metrics(request: web.Request) -> web.Response:
    """Answer every metric of this process."""
    asked(request, Nothing)
    text = printed() + await asyncio.to_thread(generate_latest, _PROCESS)
    headers = {"Content-Type": f"{_MEDIA}; version=0.0.4; charset=utf-8"}
    return web.Response(body=text, headers=headers)


ROUTES = (
    Route(
        methods=("GET",),
        path="/metrics",
        handler=metrics,
        summary="Metrics of this process, for Prometheus",
        tag="status",
        media=_MEDIA,
    ),
)

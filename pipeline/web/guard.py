"""What stands before and after every handler: origin, time limit, headers of answers, metric.

A browser page of another site must reach nothing here, even though we listen on this machine only:
requests that arrive over a loopback address must name a loopback host (DNS rebinding), and requests that
change something must not come from a page of another origin (RFC 6454).
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from pipeline import limits, metrics, metrics_hub
from pipeline.errors import Unavailable
from pipeline.web import archive_cors, hub_problems
from pipeline.web.problems import Forbidden
from pipeline.web.routes import Handler, Route

log = structlog.get_logger(__name__)

ROUTES = web.AppKey("routes", dict[str, Route])
"""The description of each path, by the canonical path of its resource."""

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_METHODS = {*_SAFE_METHODS, "POST", "PUT", "PATCH", "DELETE"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers hide the origin of our own forms too
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the headers every answer has, unless its handler chose stricter ones."""
    del request
    response.headers["Server"] = "headrace"  # aiohttp would tell its version and that of Python
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count and time every request under its route, never under what a client made up."""
    started = time.perf_counter()
    status = "closed"
    try:
        response = await handler(request)
        status = str(response.status)
    finally:
        seconds = time.perf_counter() - started
        route = _path_of(request) or "unknown"
        method = request.method if request.method in _METHODS else "other"
        metrics.WEB_REQUESTS.labels(route, method, status).observe(seconds)
        if hub_problems.asked(request):
            metrics_hub.REQUEST_SECONDS.labels(method, route).observe(seconds)
            metrics_hub.RESPONSES.labels(method, route, status).inc()
        log.debug("request", method=method, route=route, status=status, seconds=round(seconds, 4))
    return response


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a foreign web page made a browser send.

    Raises:
        Forbidden: The host is not ours, or a changing request comes from another origin.
    """
    host = _host_of(request.headers.get("Host", ""))
    if _arrived_on_loopback(request) and not _names_loopback(host):
        raise Forbidden(
            "check the Host header",
            f"{host[:100]!r} is not a name of this machine",
            "use http://127.0.0.1 or http://localhost",
        )
    if request.method not in _SAFE_METHODS and not request.app[archive_cors.ORIGINS].allow(request):
        _check_sender(request)
    return await handler(request)


@web.middleware
async def limit_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every request that moves no object its time limit.

    Raises:
        Unavailable: It took longer.
    """
    route = request.app[ROUTES].get(_path_of(request) or "")
    if route is None or route.streams:
        return await handler(request)
    try:
        async with asyncio.timeout(limits.WEB_REQUEST_SECONDS):
            return await handler(request)
    except TimeoutError as error:
        why = f"no answer within {limits.WEB_REQUEST_SECONDS:g} s"
        raise Unavailable(f"{request.method} {_path_of(request)}", why, "try again later") from error


def _path_of(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _host_of(value: str) -> str:
    """Return the host of a Host header or origin without its port; empty when it makes no sense."""
    try:
        return (urlsplit(f"//{value}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _arrived_on_loopback(request: web.Request) -> bool:
    """Tell whether the connection came in on this machine's own address or a local socket."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    if not isinstance(name, tuple):
        return True
    return _names_loopback(str(name[0]))


def _names_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _check_sender(request: web.Request) -> None:
    """Browsers say where a request comes from; programs that are no browser send neither header."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    same = origin is None or urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()
    if site not in {"none", "same-origin"} or not same:
        raise Forbidden(
            "check where the request comes from",
            f"a page of {str(origin)[:100]} may not do this",
            "use the page of this service",
        )

"""What kind of answer a client asks for: the header Accept (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from aiohttp import web


def quality(request: web.Request, media: str) -> float:
    """Return how much a client wants a media type, from 0 (not at all) to 1.

    The most specific range that names it counts. Parameters of ranges other than ``q`` are not looked at,
    and a range whose ``q`` is no such number is left out. A client that says nothing takes anything.
    """
    ranges = ",".join(request.headers.getall("Accept", ["*/*"]))
    wanted: dict[str, float] = {}
    for each in ranges.split(","):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        weight = _weight(parameters)
        if weight is not None:
            wanted[name] = max(weight, wanted.get(name, 0.0))
    kind = media.partition("/")[0]
    return next((wanted[name] for name in (media, f"{kind}/*", "*/*") if name in wanted), 0.0)


def _weight(parameters: list[str]) -> float | None:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                weight = float(parameter.removeprefix("q="))
            except ValueError:
                return None
            return weight if 0 <= weight <= 1 else None
    return 1.0

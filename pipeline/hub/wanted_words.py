"""What a consumer lets through, in words for people."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.hub.wanted import Wanted


def in_words(wanted: Wanted) -> list[str]:
    """Say what the filter of a consumer lets through, one phrase a rule; without sources and actions."""
    least, most = wanted.require_over_content_size, wanted.require_under_content_size
    phrases = (
        (wanted.require_content, "sourced and extracted events with content"),
        (wanted.require_streams_map, f"no streams but {_streams(wanted.require_streams_map)}"),
        (least, f"content of at least {least} bytes"),
        (most, f"content of at most {most} bytes"),
        (wanted.deny_events, f"not {', '.join(wanted.deny_events)}"),
        (wanted.deny_self, f"nothing by {wanted.name}"),
        (wanted.max_security, f"readable with {wanted.max_security}"),
        (wanted.filter, f"where {wanted.filter}"),
    )
    return [phrase for asked, phrase in phrases if asked]


def _streams(wanted: Mapping[str, Mapping[str, bool]]) -> str:
    return ", ".join(
        f"{'others' if label == '*' else label} ({' '.join(f'{one}…' for one in starts) or 'any format'})"
        for label, starts in wanted.items()
    )

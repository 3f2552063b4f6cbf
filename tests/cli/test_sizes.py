"""Sizes in settings, as people write them (dispatcher contract, section 19)."""

from __future__ import annotations

import json

import pytest

from pipeline.sizes import parse_size
from tests.cli.command import Command


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("100", 100),
        ("100B", 100),
        ("2kB", 2_000),
        ("3M", 3_000_000),
        ("3MB", 3_000_000),
        ("1E", 10**18),
        ("500Ki", 512_000),
        ("3MiB", 3 << 20),
        ("64GiB", 64 << 30),
        ("1.5KiB", 1536),
        ("0.1KiB", 102),
    ],
)
def test_a_size_is_a_number_and_its_unit(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "KB", "1KB", "1k", "1 MB", "-1", "1.", ".5M", "1MiBs", "1mib", "1e3"])
def test_what_is_no_size_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="powers of 1024"):
        parse_size(text)


def test_settings_take_sizes_with_units(headrace: Command) -> None:
    result = headrace.plain("-s", "web.upload_max_bytes=3MiB", "config", "show", "--json")
    values = {row["name"]: row["value"] for row in json.loads(result.out)}
    assert values["web.upload_max_bytes"] == 3 << 20
    assert values["parser.memory_bytes"] == 1 << 30
    wrong = headrace.plain("-s", "web.upload_max_bytes=3KB", "config", "show", code=2)
    for words in ("web.upload_max_bytes", "3KB", "powers of 1024"):
        assert words in wrong.err

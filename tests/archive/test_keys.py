"""Keys of archived objects (archive contract, section 8)."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive.keys import archive_key
from pipeline.errors import BadInput

UUID = uuid.UUID("01234567-89AB-4CDE-8F01-23456789ABCD")


@pytest.mark.parametrize(
    ("timestamp_ms", "path"),
    [
        (1_700_000_000_123, "2023/11/14/22"),
        (1_709_510_399_999, "2024/3/3/23"),
        (0, "1970/1/1/0"),
        (-1, "1969/12/31/23"),
        (253_402_300_800_000, "10000/1/1/0"),
        (2**63 - 1, "292278994/8/17/7"),
        (-(2**63), "-292275055/5/16/16"),
    ],
)
def test_the_key_names_topic_hour_and_uuid(timestamp_ms: int, path: str) -> None:
    key = archive_key("alerts.demo", timestamp_ms, UUID)
    assert key == f"alerts.demo/{path}/01234567-89ab-4cde-8f01-23456789abcd.bson"


@given(st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23)))  # noqa: DTZ001 -- given UTC below
def test_the_hour_is_the_calendars(naive: dt.datetime) -> None:
    moment = naive.replace(tzinfo=dt.UTC, microsecond=0)
    key = archive_key("t", int(moment.timestamp()) * 1000, UUID)
    assert key == f"t/{moment.year}/{moment.month}/{moment.day}/{moment.hour}/{UUID}.bson"


def test_a_prefix_stands_before_the_topic() -> None:
    assert archive_key("t", 0, UUID, "archive/") == f"archive/t/1970/1/1/0/{UUID}.bson"


@pytest.mark.parametrize("topic", ["", ".", "..", "a/b", "../a", "a\\b", "a\0", "ü", "a b", "x" * 256])
def test_what_is_no_topic_never_becomes_a_path(topic: str) -> None:
    with pytest.raises(BadInput, match="topic"):
        archive_key(topic, 0, UUID)

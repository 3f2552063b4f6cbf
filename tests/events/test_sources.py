"""Sources as operators define them: what is read, what is refused and how it is said."""

from __future__ import annotations

import pytest

from pipeline.errors import SettingError
from pipeline.events.expiry import expiry_seconds
from pipeline.events.sources import parse_sources, sources_from

WHOLE = """
sources:
  incidents:
    description: text
    icon_class: fa-ambulance
    partition_unit: year
    expire_events_after: 2 months
    exclude_from_backup: true
    elastic: {number_of_replicas: 2, number_of_shards: 3}
    references:
      - {name: task_id, required: true, description: text, highlight: false}
    kafka:
      numpartitions: 3
      replicationfactor: 1
      config: {segment.bytes: 1073741824}
"""


def test_the_definition_of_the_contract_is_read_whole() -> None:
    source = parse_sources(WHOLE, "test01")["incidents"]
    assert (source.name, source.description, source.icon_class) == ("incidents", "text", "fa-ambulance")
    assert source.exclude_from_backup
    assert source.elastic == {"number_of_replicas": 2, "number_of_shards": 3}
    assert source.references[0].required
    assert source.references[0].priority
    assert source.expiry_seconds == 60 * 86400
    assert source.expire_events_ms == 5_184_000_000
    assert source.kafka.numpartitions == 3


def test_a_source_that_says_nothing_keeps_its_events() -> None:
    source = parse_sources("sources: {a: }", "test01")["a"]
    assert source.expiry_seconds is None
    assert source.expire_events_ms == -1
    assert source.icon_class == "bug"


def test_plain_data_is_read_like_yaml() -> None:
    assert sources_from({"a": {"expire_events_after": "1 weeks"}}, "p")["a"].expiry_seconds == 7 * 86400


@pytest.mark.parametrize("text", ["", "sources:", "sources: {}", "# nothing"])
def test_no_sources_are_no_error(text: str) -> None:
    assert parse_sources(text, "test01") == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", None),
        ("", None),
        ("1 days", 86400),
        ("3 weeks", 21 * 86400),
        ("2 months", 60 * 86400),
        ("10 years", 3650 * 86400),
    ],
)
def test_expiries_count_months_of_30_and_years_of_365_days(text: str, seconds: int | None) -> None:
    assert expiry_seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        " 2 months",
        "2 months ",
        "2  months",
        "months",
        "2",
        "2months",
        "two months",
        "2 month",
        "2 hours",
        "1.5 years",
        "-1 days",
        "+1 days",
        "0 days",
        "2\tmonths",
        "2 Months",
        "9999999 years",
        "٢ days",
        "2 months\n",
    ],
)
def test_an_expiry_that_is_not_exactly_a_number_and_a_unit_stops_the_start(text: str) -> None:
    with pytest.raises(SettingError):
        expiry_seconds(text)
    with pytest.raises(SettingError, match=r"events\.sources\.a"):
        sources_from({"a": {"expire_events_after": text}}, "test01")


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a/b", "..", "ä", "a\n", "system", "x" * 230])
def test_a_name_that_makes_no_topic_is_refused(name: str) -> None:
    with pytest.raises(SettingError):
        sources_from({name: {}}, "test01")


def test_the_longest_name_fits_exactly() -> None:
    longest = 249 - len("azul.test01.") - len(".binary.extracted")
    assert list(sources_from({"x" * longest: {}}, "test01"))
    with pytest.raises(SettingError, match="250 characters"):
        sources_from({"x" * (longest + 1): {}}, "test01")


@pytest.mark.parametrize(
    "text",
    [
        "incidents: {}",
        "sources: [a]",
        "sources: {a: 5}",
        "sources: {a: {expire_event_after: 1 days}}",
        "sources: {a: {kafka: {partitions: 1}}}",
        "sources: {a: {kafka: {config: {retention.ms: {}}}}}",
        "sources: {a: {references: [{required: true}]}}",
        "sources: {a: {}, a: {}}",
        "sources: {a: {}}\nother: 1",
        "sources: {[1]: {}}",
        "sources: {{}: {}}",
        "sources:\n\t- a",
    ],
)
def test_a_wrong_sources_yaml_is_refused(text: str) -> None:
    with pytest.raises(SettingError):
        parse_sources(text, "test01")

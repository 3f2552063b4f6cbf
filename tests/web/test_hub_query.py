"""What a fetch asks for, in today's and older names (dispatcher contract, sections 2, 3, 10 and 11)."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import MultiDict

from pipeline import limits
from pipeline.flags import FALSE, TRUE
from pipeline.hub.wanted import Wanted, decode_wanted
from pipeline.web.hub_fetch_query import FetchQuery, Flag
from pipeline.web.hub_problems import Refused
from pipeline.web.hub_query import wanted_of


def asked(query: str, model: str = "binary", *, task: bool = False) -> Wanted:
    request = make_mocked_request("GET", f"/fetch?{query}", headers={"User-Agent": "plug/1"})
    return wanted_of(request, model, task=task, fetch_limit=1000, wait_seconds=5)


def live(query: str, model: str = "binary") -> Wanted:
    return asked(f"r-live=true&{query}", model)


def refused(query: str, model: str = "binary") -> str:
    with pytest.raises(Refused) as refusal:
        asked(query, model)
    assert (refusal.value.status, refusal.value.title) == (422, "bad parameters")
    return refusal.value.detail


def test_what_is_not_asked_for_has_its_default() -> None:
    assert live("") == Wanted(
        user_agent="plug/1", model="binary", name="", version="", count=1, deadline=5, require_live=True
    )


def test_everything_can_be_asked_for_at_once() -> None:
    wanted = asked(
        "name=plug&version=1.0&deployment_key=d&r-expedite=1&r-live=t&r-historic=True&count=7&deadline=9"
        "&avro-format=T&r-source=b&r-source=a&r-action=extracted&r-action=sourced&d-action=mapped"
        "&r-under-content-size=50&r-over-content-size=50&r-streams=content,text/,a&r-streams=pcap"
        "&d-self=TRUE&max-security=LOW&debug=1&reset=1&filter=author.name&unknown=x",
        task=True,
    )
    assert wanted == Wanted(
        user_agent="plug/1",
        model="binary",
        name="plug",
        version="1.0",
        deployment_key="d",
        count=7,
        deadline=9,
        avro=True,
        debug=True,
        reset=True,
        is_task=True,
        require_sources=("b", "a"),
        require_events=("extracted", "sourced"),
        deny_events=("mapped",),
        require_under_content_size=50,
        require_over_content_size=50,
        require_streams_map={"content": {"text/": True, "a": True}, "pcap": {}},
        require_expedite=True,
        require_live=True,
        require_historic=True,
        deny_self=True,
        max_security="LOW",
        filter="author.name",
    )
    assert decode_wanted(wanted.encode()) == wanted
    assert wanted.consumer.key == "plug-1.0-binary-b.a-extracted.sourced-ELHD"


def test_bytes_that_are_no_text_never_keep_a_request_from_being_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query = "r-live=1&name=%ff%ed%a0%80&version=%00&r-source=%ff&r-streams=%ff&max-security=%ff"
    request = make_mocked_request("GET", f"/fetch?{query}")
    # As a server gives it; the helper that makes requests cannot.
    monkeypatch.setattr(type(request), "headers", {"User-Agent": "plug\udcff"})
    wanted = wanted_of(request, "binary", task=False, fetch_limit=1, wait_seconds=0)
    assert decode_wanted(wanted.encode()) == wanted
    assert wanted.user_agent == "plug?"


def test_content_means_sourced_and_extracted_also_for_the_key() -> None:
    wanted = live("name=p&version=1&r-content=true")
    assert wanted.require_content
    assert wanted.consumer.key == "p-1-binary-allsrc-sourced.extracted-L"


def test_booleans_have_exact_spellings() -> None:
    assert all(live(f"d-self={text}").deny_self for text in TRUE)
    assert not any(live(f"d-self={text}").deny_self for text in (*FALSE, ""))
    assert refused("r-live=yes") == "bad parameter for r-live: 'yes' is neither true nor false"
    for name in (
        "r-expedite",
        "r-historic",
        "r-content",
        "d-self",
        "avro-format",
        "debug",
        "reset",
        "is-task",
    ):
        assert refused(f"r-live=1&{name}=tRUE").startswith(f"bad parameter for {name}: ")


def test_only_the_first_occurrence_of_a_scalar_counts() -> None:
    assert live("count=3&count=x&d-self=1&d-self=maybe").count == 3


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ("0", 1),
        ("-5", 1),
        ("+7", 7),
        ("1000", 1000),
        ("1001", 1000),
        ("9223372036854775807", 1000),
        ("", 1),
    ],
)
def test_a_count_is_never_beyond_the_limit(given: str, count: int) -> None:
    assert live(f"count={given.replace('+', '%2B')}").count == count


@pytest.mark.parametrize(
    ("given", "deadline"), [("0", 0), ("-1", 0), ("30", 30), ("100000", limits.HUB_WAIT_MAX_SECONDS)]
)
def test_a_deadline_is_never_beyond_the_limit_nor_before_now(given: str, deadline: int) -> None:
    assert live(f"deadline={given}").deadline == deadline


@pytest.mark.parametrize(
    "text", ["x", "1.5", "1_0", "%201", "٣", "9223372036854775808", "1" * 5000, "0x10"]
)
@pytest.mark.parametrize("name", ["count", "deadline", "r-under-content-size", "r-over-content-size"])
def test_what_is_no_whole_number_is_refused_by_name(name: str, text: str) -> None:
    assert refused(f"r-live=1&{name}={text}").startswith(f"bad parameter for {name}: ")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("", "at least one of r-expedite, r-live and r-historic must be true"),
        ("r-live=0&r-historic=", "at least one of r-expedite, r-live and r-historic must be true"),
        ("r-content=1&r-action=sourced", "cannot combine r-content with r-action or d-action"),
        ("r-content=1&d-action=mapped", "cannot combine r-content with r-action or d-action"),
        ("r-action=stolen", "bad parameter for r-action: unknown action 'stolen'"),
        ("d-action=stolen", "bad parameter for r-action: unknown action 'stolen'"),
        ("r-action=sourced,mapped", "bad parameter for r-action: unknown action 'sourced,mapped'"),
        (
            "r-under-content-size=5&r-over-content-size=6",
            "bad parameter for r-over-content-size: 6 is above",
        ),
        ("filter=..", "bad parameter for filter: "),
        ("filter=%5Ba%5D", "bad parameter for filter: "),
        (f"name={'n' * 9000}", "bad parameter for name: "),
    ],
)
def test_what_cannot_be_asked_for_is_refused(query: str, detail: str) -> None:
    flow = "" if detail.startswith("at least") else "r-live=1&"
    assert refused(flow + query).startswith(detail)


def test_sizes_of_zero_or_less_are_no_limit() -> None:
    wanted = live("r-under-content-size=-1&r-over-content-size=6")
    assert (wanted.require_under_content_size, wanted.require_over_content_size) == (0, 6)


def test_there_is_no_expedite_queue_but_for_binary_events() -> None:
    assert refused("r-expedite=1", "status").startswith("bad parameter for r-expedite: ")
    assert live("r-expedite=0", "status").consumer.key == "--status-L"
    assert asked("r-expedite=1").consumer.subscriptions == ("expedite",)


def test_an_unknown_model_is_refused() -> None:
    assert refused("r-live=1", "binaries").startswith("bad parameter for model: ")


def test_a_label_given_twice_takes_the_formats_of_both() -> None:
    assert live("r-streams=text,a&r-streams=text,b").require_streams_map == {"text": {"a": True, "b": True}}
    assert live("r-streams=text,a&r-streams=text").require_streams_map == {"text": {}}
    assert live("r-streams=text&r-streams=text,a").require_streams_map == {"text": {}}


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ("timeout=9", "deadline=9"),
        ("requires-data=true", "r-content=1"),
        ("f-max-content-size=50", "r-under-content-size=50"),
        ("f-min-content-size=50", "r-over-content-size=50"),
        ("f-allow-event-type=sourced&f-allow-event-type=mapped", "r-action=sourced&r-action=mapped"),
        ("f-allow-event-type=sourced,mapped", "r-action=sourced&r-action=mapped"),
        ("f-deny-event-type=sourced,mapped", "d-action=sourced&d-action=mapped"),
        ("f-self=1", "d-self=true"),
        ("f-data-type=content,a,b", "r-streams=content,a,b"),
        ("ignore-historic=false", "r-historic=true"),
    ],
)
def test_an_old_name_means_what_todays_name_means(old: str, today: str) -> None:
    assert live(old) == live(today) != live("")
    assert live(f"{old}&{today}") == live(today), "both, with the same value"


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ("timeout=9", "deadline=8"),
        ("requires-data=true", "r-content=0"),
        ("f-max-content-size=50", "r-under-content-size=51"),
        ("f-min-content-size=50", "r-over-content-size=51"),
        ("f-allow-event-type=sourced,mapped", "r-action=sourced"),
        ("f-deny-event-type=sourced", "d-action=mapped"),
        ("f-self=false", "d-self=true"),
        ("f-data-type=content", "r-streams=content,a"),
        ("ignore-historic=true", "r-historic=true"),
        ("ignore-historic=false", "r-historic=false"),
    ],
)
def test_both_names_of_one_thing_with_different_values_are_refused(old: str, today: str) -> None:
    detail = refused(f"r-live=1&{old}&{today}")
    assert old.split("=", maxsplit=1)[0] in detail
    assert today.split("=", maxsplit=1)[0] in detail


def test_every_parameter_that_is_read_is_described_and_no_other() -> None:
    described = {field.encode_name for field in msgspec.structs.fields(FetchQuery)}
    read: set[str] = set()

    class Watched(MultiDict[str]):
        def get(self, key: str, default: Any = None) -> Any:
            read.add(key)
            return "1" if key == "r-live" else default

        def getall(self, key: str, default: Any = ()) -> Any:
            read.add(key)
            return default

    request = make_mocked_request("GET", "/fetch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(request), "query", Watched())
        wanted_of(request, "binary", task=False, fetch_limit=1, wait_seconds=0)
    assert read == described
    assert set(get_args(Flag)) == {*TRUE, *FALSE, ""}


def test_a_wrong_value_is_reported_under_the_name_it_was_given() -> None:
    for query in ("timeout=x", "f-self=x", "f-max-content-size=x", "f-deny-event-type=sourced,x"):
        assert refused(f"r-live=1&{query}").startswith(f"bad parameter for {query.split('=')[0]}: ")


@pytest.mark.parametrize(
    ("query", "subscriptions"),
    [
        ("ignore-historic=true", ("live",)),
        ("ignore-historic=false", ("historic",)),
        ("ignore-historic=false&r-live=1", ("live", "historic")),
        ("ignore-historic=true&r-expedite=1", ("expedite",)),
    ],
)
def test_a_client_that_knows_no_flow_flag_gets_what_is_to_come(query: str, subscriptions: Any) -> None:
    assert asked(query).consumer.subscriptions == subscriptions

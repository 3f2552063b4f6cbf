"""What a plugin declares: contradictions are refused when it is made, values become text."""

from __future__ import annotations

import datetime as dt
from pathlib import PurePosixPath
from typing import Any

import pytest

from headrace import Plugin, feature, testing
from headrace.features import Features, declared
from headrace.find import find, find_all
from pipeline import limits
from pipeline.clock import SystemClock
from pipeline.errors import BadInput, SettingError, TooLarge
from pipeline.events import validity


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"name": "my plugin"}, "letters, digits"),
        ({"name": ""}, "letters, digits"),
        ({"version": "1/2"}, "letters, digits"),
        ({"actions": ["eaten"]}, "is not a list of actions"),
        ({"actions": "sourced"}, "is not a list of actions"),
        ({"actions": []}, "never be handed anything"),
        ({"streams": ["video"]}, "is not a list of streams"),
        ({"formats": "text/"}, "is not a list of file formats"),
        ({"formats": ["text/,code/"]}, "is not a list of file formats"),
        ({"formats": ["text/"], "streams": []}, "does not read"),
        ({"actions": ["sourced", "enriched"]}, "events of action enriched have no content"),
        ({"features": {"lines": "number"}}, "is no type"),
        ({"features": {"": "integer"}}, "is no type"),
    ],
)
def test_what_cannot_work_is_refused_when_the_plugin_is_made(how: dict[str, Any], why: str) -> None:
    how = {"name": "tested", "version": "1.0", **how}
    with pytest.raises(SettingError, match=why):
        Plugin(how.pop("name"), how.pop("version"), **how)


KINDS = ("integer", "float", "string", "binary", "datetime", "filepath", "uri")
MOMENT = dt.datetime(2026, 11, 1, 10, 20, 30, tzinfo=dt.UTC)


def _features() -> Features:
    return Features(declared("tested", {kind: kind for kind in KINDS}))


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("integer", -3, "-3"),
        ("float", 1.5, "1.5"),
        ("float", 2, "2.0"),
        ("string", "é\n", "é\n"),
        ("binary", b"\0\xff", "AP8="),
        ("datetime", MOMENT, "2026-11-01T10:20:30+00:00"),
        ("filepath", PurePosixPath("/a/b"), "/a/b"),
        ("filepath", r"C:\a", r"C:\a"),
        ("uri", "http://a/", "http://a/"),
    ],
)
def test_values_are_written_as_text(kind: str, value: Any, text: str) -> None:
    features = _features()
    features.add(kind, value, label="somewhere", offset=3, size=4)
    [found] = features.all()
    assert (found.name, found.type, found.value) == (kind, kind, text)
    assert (found.label, found.offset, found.size) == ("somewhere", 3, 4)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("integer", True),
        ("integer", 1.0),
        ("integer", "1"),
        ("string", b"x"),
        ("binary", "x"),
        ("datetime", MOMENT.replace(tzinfo=None)),
        ("datetime", "2026-11-01"),
        ("filepath", b"/a"),
    ],
)
def test_values_of_another_type_are_refused(kind: str, value: Any) -> None:
    with pytest.raises(BadInput):
        _features().add(kind, value)


def test_features_are_bounded() -> None:
    features = _features()
    for number in range(limits.FEATURES_PER_EVENT):
        features.add("integer", number)
    with pytest.raises(TooLarge):
        features.add("integer", -1)
    with pytest.raises(BadInput, match="negative"):
        _features().add("integer", 1, offset=-1)


def test_the_registration_says_who_it_is_and_what_it_may_find() -> None:
    plugin = Plugin(
        "tested",
        "1.0",
        description="Looks",
        contact="us",
        security="HIGH",
        features={"lines": feature("integer", "Line feeds", tags=("text",)), "first": "string"},
    )
    event = plugin.registration(SystemClock().now())
    assert validity.fault(event) is None
    entity = event.entity
    assert (entity.name, entity.version, entity.category) == ("tested", "1.0", "plugin")
    assert (entity.description, entity.contact, entity.security) == ("Looks", "us", "HIGH")
    assert [(one.name, one.type, one.desc, one.tags) for one in entity.features] == [
        ("lines", "integer", "Line feeds", ("text",)),
        ("first", "string", "", ()),
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tests.kit.nowhere:plugin", "No module named"),
        ("tests.kit.plugins:nothing", "has no attribute"),
        ("tests.kit.plugins:count", "no Plugin"),
        ("tests.kit.plugins:", "MODULE:NAME"),
        ("not-installed", "the installed ones are: none"),
        ("tests.kit.empty:plugin", "it has no function"),
    ],
)
def test_a_plugin_that_is_not_there_is_told_apart_from_one_that_is_broken(name: str, why: str) -> None:
    with pytest.raises(SettingError, match=why):
        find(name)


def test_plugins_are_found_by_module_and_each_once() -> None:
    name = "tests.kit.counting:plugin"
    plugins = find_all([name, name, "*"])
    assert [str(plugin) for plugin in plugins] == ["counting 1.0"]
    assert testing.run(plugins[0], b"a\nb\n").features == {"lines": ["2"]}

"""Dashboards and alerts: every metric and command they name exists, and every archive metric is shown."""

from __future__ import annotations

import json
import re
from importlib import resources
from itertools import combinations
from typing import Any

import pytest
import yaml
from prometheus_client import Metric

from pipeline import metrics, metrics_archive
from tests.docs.test_complete import OPERATING, ROOT, _commands

DASHBOARD: dict[str, Any] = json.loads((ROOT / "conf/dashboards/archive.json").read_text())
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "conf/alerts/archive.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SHOWN: list[str] = [target["expr"] for panel in PANELS for target in panel["targets"]]
ASKED = [*SHOWN, *(rule["expr"] for rule in ALERTS)]

_NAME = re.compile(r"\b(headrace_\w+)")
_SELECTOR = re.compile(r"\b(headrace_\w+){([^}]*)}")
_OF_SCRAPES = {"instance", "le"}


def families() -> dict[str, Metric]:
    """Return what is printed, by the names it can be asked for."""
    found: dict[str, Metric] = {}
    for family in metrics.REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(
            family.type, [""]
        )
        found |= {family.name + suffix: family for suffix in suffixes}
    return found


def labels(name: str) -> set[str]:
    """Return the labels of a metric."""
    [metric] = {
        id(one): one
        for one in (*vars(metrics).values(), *vars(metrics_archive).values())
        if getattr(one, "_name", None) == families()[name].name
    }.values()
    return set(metric._labelnames)  # noqa: SLF001 - the library tells them in no other way


def test_every_metric_that_is_asked_for_exists() -> None:
    named = {name for expression in ASKED for name in _NAME.findall(expression)}
    named |= set(_NAME.findall(json.dumps(DASHBOARD["templating"])))
    assert named <= set(families())


def test_every_metric_of_the_archive_is_on_the_dashboard() -> None:
    shown = {families()[name].name for expression in SHOWN for name in _NAME.findall(expression)}
    assert {family.name for family in families().values() if "archive" in family.name} <= shown


@pytest.mark.parametrize("expression", ASKED)
def test_expressions_use_the_labels_their_metrics_have(expression: str) -> None:
    for name, selectors in _SELECTOR.findall(expression):
        asked = re.findall(r"(\w+)(?:=~|!~|!=|=)", selectors)
        assert asked
        assert set(asked) <= labels(name) | _OF_SCRAPES
    known = set().union(*(labels(name) for name in _NAME.findall(expression)), _OF_SCRAPES)
    for grouping in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in grouping.split(",")} <= known
    for opened, closed in ("()", "[]", "{}"):
        assert expression.count(opened) == expression.count(closed)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["todo"]) > 40
    assert re.search(rf"^\| `{rule['alert']}` \|", OPERATING, re.MULTILINE), "it is not in the document"


def test_no_alert_is_there_twice_and_no_other_is_documented() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names))
    assert re.findall(r"^\| `(Archive\w+)` \|", OPERATING, re.MULTILINE) == names


def test_the_commands_alerts_and_panels_name_exist() -> None:
    texts = [*(rule["annotations"]["todo"] for rule in ALERTS), *(panel["description"] for panel in PANELS)]
    commands = _commands()
    named = re.findall(r"\bheadrace ([a-z]+) ([a-z-]+)", " ".join(texts))
    assert named
    for group, command in named:
        assert command in commands[group], f"headrace {group} {command}"


def test_panels_lie_beside_each_other_and_say_what_they_show() -> None:
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    for panel in everything:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in everything], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references)) > 0


def test_dashboards_and_alerts_are_installed() -> None:
    for name in ("dashboards/archive.json", "alerts/archive.yaml"):
        assert resources.files("conf").joinpath(name).is_file()

"""Every setting, command, route and metric is documented, and what is documented exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer

from pipeline import metrics
from pipeline.cli.commands import app
from pipeline.settings import SHIPPED_FILE, Settings, flatten, load
from pipeline.web.application import ROUTES

ROOT = Path(__file__).parent.parent.parent
OPERATING = (ROOT / "docs/operating.md").read_text()
DISPATCHER = (ROOT / "docs/dispatcher-metrics.md").read_text()
HTTP = (ROOT / "docs/http.md").read_text()


def test_every_setting_stands_in_the_shipped_file_with_a_comment() -> None:
    lines = SHIPPED_FILE.read_text().splitlines()
    named = set(flatten(load(environment={"XDG_CONFIG_HOME": "/nonexistent"}).settings.model_dump()))
    written = flatten(tomllib.loads(SHIPPED_FILE.read_text()))
    assert {name for name in named if not name.startswith("events.sources.")} <= set(written)
    for number, line in enumerate(lines):
        name = re.match(r"(\w+) = ", line)
        if name and name[1] != "description":
            documented = "#" in line or any(
                above.startswith("#") for above in lines[max(0, number - 1) : number]
            )
            assert documented or _in_commented_block(lines, number), f"{name[1]} has no comment"


def _in_commented_block(lines: list[str], number: int) -> bool:
    """Tell whether a setting belongs to a group that one comment explains, as user and password do."""
    return number > 0 and bool(re.match(r"\w+ = ", lines[number - 1]))


def test_every_section_is_a_table_of_the_shipped_file() -> None:
    sections = {
        name for name, field in Settings.model_fields.items() if hasattr(field.annotation, "model_fields")
    }
    assert sections <= set(tomllib.loads(SHIPPED_FILE.read_text()))


def _commands() -> dict[str, list[str]]:
    root = typer.main.get_command(app)
    found: dict[str, list[str]] = {}
    for name, command in getattr(root, "commands", {}).items():
        found[name] = sorted(getattr(command, "commands", {}))
    return found


@pytest.mark.parametrize("command", sorted(_commands()))
def test_every_command_is_documented_with_its_own_commands(command: str) -> None:
    rows = [line for line in OPERATING.splitlines() if line.startswith(f"| `headrace {command}")]
    assert len(rows) == 1
    for below in _commands()[command]:
        assert re.search(rf"\b{below}\b", rows[0]), f"headrace {command} {below} is missing"


def test_no_command_is_documented_that_does_not_exist() -> None:
    named = {match[1] for match in re.finditer(r"^\| `headrace ([\w-]+)", OPERATING, re.MULTILINE)}
    assert named == set(_commands())


@pytest.mark.parametrize("command", sorted(_commands()))
def test_every_help_text_shows_an_example(command: str) -> None:
    root = typer.main.get_command(app)
    commands = getattr(root, "commands", {})
    below = getattr(commands[command], "commands", None) or {command: commands[command]}
    for name, one in below.items():
        example = re.search(rf"Examples?: .*headrace .*\b{command}\b", one.help or "")
        assert example, f"{command} {name} shows no example"


def test_every_metric_is_documented_and_no_other() -> None:
    there = re.findall(r"^# TYPE (\w+) ", metrics.printed().decode(), re.MULTILINE)
    named = re.findall(
        r"^\| `((?:headrace|dispatcher|reprocessor)_\w+)`", OPERATING + DISPATCHER, re.MULTILINE
    )
    assert sorted(named) == sorted(there)


def test_every_route_is_documented_and_no_other() -> None:
    there = {(method, route.path) for route in ROUTES for method in route.methods}
    named = {
        (method, match[2])
        for match in re.finditer(r"^\| ([A-Z, ]+) `(/[^`]*)`", HTTP, re.MULTILINE)
        for method in match[1].split(", ")
    }
    assert named == there


@pytest.mark.parametrize(
    "document", [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"], ids=lambda p: p.name
)
def test_no_link_between_the_documents_is_broken(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"

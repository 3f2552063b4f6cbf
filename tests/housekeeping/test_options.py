"""The options and defaults of both commands are those of the archive contract, sections 15.1 and 15.2."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from pipeline.housekeeping import options
from pipeline.housekeeping.commands import app as housekeeping
from pipeline.housekeeping.config import DEFAULT_STANZAS
from pipeline.housekeeping.keys import FLAT
from pipeline.housekeeping.utilities import app as houseutils

DATABASE, STORE, SOURCE = (
    {"-D", "--database_stanza"},
    {"-S", "--store_stanza"},
    {"-H", "--hop_stanza"},
)
CONTRACT: dict[str, set[str]] = {
    "housekeeping run": DATABASE
    | STORE
    | SOURCE
    | {"-t", "--test_topic", "-v", "--verify", "--until-eos", "--max-messages", "--once-stats", "-f"},
    "housekeeping list": set(),
    "houseutils list": set(),
    "houseutils connect": DATABASE,
    "houseutils status": DATABASE | {"--json"},
    "houseutils publish": SOURCE | DATABASE | {"-a", "--ask", "-c", "--clean"},
    "houseutils verify": DATABASE | STORE | {"-a", "--all", "--crc", "--store", "--json"},
    "houseutils inspect": DATABASE | STORE | {"-w", "--write", "-q", "--quiet", "--json"},
    "houseutils uuids": DATABASE | {"--json"},
    "houseutils db_logs": DATABASE,
    "houseutils kube_logs": set(),
    "houseutils clean_tests": SOURCE | DATABASE | STORE | {"-q", "--quiet"},
    "houseutils clean_duplicates": DATABASE
    | STORE
    | {"-c", "--count_only", "-l", "--limit", "-q", "--quiet"},
    "houseutils verify_db_to_store": {"-t", "--topic", "-s", "--sample", "-v", "--verbose"},
    "houseutils verify_store_to_db": {"-y", "--year_month"},
    "houseutils restore": SOURCE
    | DATABASE
    | STORE
    | {"--topic", "--from", "--to", "--uuid", "--dest-topic", "--as-sent", "--order", "--partition"}
    | {"--rate", "--journal", "--dry-run", "--verify"},
    "houseutils migrate": DATABASE,
    "houseutils reindex": {"--start-time", "--reindex-partial"},
    "houseutils parked": DATABASE,
}


def command(name: str) -> Any:
    program, _, below = name.partition(" ")
    app: typer.Typer = {"housekeeping": housekeeping, "houseutils": houseutils}[program]
    return getattr(typer.main.get_command(app), "commands", {})[below]


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_a_command_has_the_options_of_the_contract(name: str) -> None:
    found = {spelling for parameter in command(name).params for spelling in parameter.opts}
    assert CONTRACT[name] <= found


def test_run_has_every_option_of_the_second_generation() -> None:
    found = {spelling for parameter in command("housekeeping run").params for spelling in parameter.opts}
    assert {f"--{name}" for name in FLAT} | {"--config-file"} <= found


def test_the_defaults_are_mocks_for_runs_and_aws_for_the_utilities() -> None:
    mocks = {"database": "mock-db", "source": "mock-hop", "store": "mock-store"}
    assert mocks.items() <= DEFAULT_STANZAS.items()
    assert options.UTILITY_STANZAS == {"database": "aws-dev-db", "source": "hop-prod", "store": "S3-dev"}
    limit = next(each for each in command("houseutils clean_duplicates").params if "-l" in each.opts)
    assert limit.default == 20

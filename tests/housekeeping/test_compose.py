"""What `docker compose` starts fits the commands and their documentation (archive contract, section 15.3).

No container runs in tests. The file is read, and what the archiver's container is given is given to the
commands here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.housekeeping import test_data
from pipeline.housekeeping.config import Choice, load
from pipeline.housekeeping.stanzas import SHIPPED_FILE
from tests.housekeeping import real
from tests.housekeeping.command import Commands

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
TEMPLATE = dict(
    line.split("=", 1) for line in (ROOT / "env.tpl").read_text().splitlines() if line and line[0] != "#"
)
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?\}")


def filled_in(text: str) -> str:
    """Put the values of the template in, as `docker compose` does."""
    return _VARIABLE.sub(lambda found: TEMPLATE.get(found[1]) or found[2] or "", text)


def archiver_environment() -> dict[str, str]:
    """Return what the archiver's container finds in its environment."""
    given = SERVICES["hop-archiver"]["environment"]
    return {name: filled_in(str(value)) for name, value in given.items()}


def test_the_template_names_every_variable_that_is_used_and_no_other() -> None:
    assert {found[1] for found in _VARIABLE.finditer(TEXT)} == set(TEMPLATE)


def test_the_defaults_in_the_file_are_those_of_the_template() -> None:
    for name, default in _VARIABLE.findall(TEXT):
        assert default == TEMPLATE[name], name


def test_the_names_people_enter_containers_by_are_there() -> None:
    assert SERVICES["hop-archiver"]["container_name"] == "hop-archiver"
    database = SERVICES["hop-archiver-db"]
    assert database["container_name"] == "hop-archiver-db"
    assert {"POSTGRESQL_USERNAME", "POSTGRESQL_PASSWORD", "POSTGRESQL_DATABASE"} <= set(
        database["environment"]
    )


def test_the_archiver_starts_after_everything_it_needs_and_waits_for_people() -> None:
    archiver = SERVICES["hop-archiver"]
    assert set(archiver["depends_on"]) == {"kafka", "objects", "hop-archiver-db"}
    assert all("healthcheck" in SERVICES[name] for name in archiver["depends_on"])
    assert filled_in(archiver["command"][0]) == "exec sleep infinity"
    assert not any("profiles" in service for service in SERVICES.values()), "up starts all of it"


def test_the_hosts_of_the_local_stanzas_are_services() -> None:
    hosts = set(SERVICES) | set(SERVICES["objects"]["networks"]["default"]["aliases"])
    config = load(
        Choice(SHIPPED_FILE, database="local-db", source="hop-local", store="local-store"),
        archiver_environment(),
    )
    endpoint = config.text("store-endpoint-url")
    assert config.text("hop-hostname") in hosts
    assert endpoint.removeprefix("http://").partition(":")[0] in hosts
    assert archiver_environment()["POSTGRESQL_HOST"] in hosts


def test_every_volume_is_declared_so_that_down_with_volumes_leaves_a_clean_slate() -> None:
    named = {
        volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())
    }
    assert named == set(COMPOSE["volumes"])


def test_the_image_has_both_scripts_in_its_working_directory() -> None:
    image = (ROOT / "deploy/Dockerfile").read_text()
    directory = image.index("WORKDIR /srv/archiver")
    for name in ("housekeeping", "houseutils"):
        assert image.index(f"ln -s /opt/headrace/bin/{name} {name}.py") > directory


@pytest.mark.kafka
@pytest.mark.postgres
async def test_the_documented_command_works_with_what_the_container_is_given(
    commands: Commands, kafka_address: str, postgres_dsn: str, unique: str
) -> None:
    """The addresses are those of the servers here; every name and option is the container's."""
    host, _, port = kafka_address.rpartition(":")
    async with real.database(postgres_dsn) as database, real.topics(kafka_address, unique) as log:
        await log.append(real.records(unique, 3))
        commands.environment |= archiver_environment() | database
        commands.environment |= {
            "SCIMMA_ARCH_HOP_HOSTNAME": host,
            "SCIMMA_ARCH_HOP_PORT": port,
            "SCIMMA_ARCH_HOP_GROUPNAME": unique,
            "SCIMMA_ARCH_HOP_TEST_TOPIC": unique,
            "HOP_USERNAME": "somebody",
            "HOP_PASSWORD": "filled in",
        }
        run = ("run", "-H", "hop-local", "-D", "local-db", "-S", "mock-store")
        ran = commands.process("housekeeping", *run, "-t", "--until-eos", "--once-stats")
        assert ran.json["stored"] == 3
        assert "messages are acknowledged and not kept" in ran.err
        status = commands.process("houseutils", "status", "-D", "local-db").out
        assert unique in status
        await log.append([test_data.cases()[-1].record(unique)])
        assert commands.process("housekeeping", *run, "-t", "--once-stats").json["passed_over"] == 1

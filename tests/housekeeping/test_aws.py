"""What is asked of AWS, and what its refusals mean to the person in front of the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline.database.location import locate
from pipeline.errors import Unavailable
from pipeline.housekeeping import aws, database
from pipeline.housekeeping.config import Choice, Config, load
from pipeline.housekeeping.credentials import Login
from pipeline.housekeeping.source import login_of, policy_settings
from tests.databases import postgres_schema
from tests.housekeeping import aws_server
from tests.housekeeping.aws_server import Aws
from tests.housekeeping.command import Commands

NAME = "housedevel-housekeeping-db"
INSTANCE = {"name": NAME, "host": "db.example", "port": 5433, "username": "archiver", "database": "archive"}


@pytest.fixture
def there() -> Iterator[Aws]:
    with aws_server.running() as server:
        yield server


@pytest.fixture
def reached(there: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Lead this process to the server."""
    for name, value in there.environment.items():
        monkeypatch.setenv(name, value)
    return there


async def test_address_and_user_come_from_rds_and_the_password_from_the_secret(reached: Aws) -> None:
    reached.instance = INSTANCE
    reached.secrets[f"{NAME}-password"] = "p@ss w/rd"
    address = await database.address(load(Choice(database="aws-dev-db"), {}))
    assert address is not None
    assert address[:5] == ("db.example", 5433, "archiver", "p@ss w/rd", "archive")
    located = locate(address.url, Path("/nowhere")).url
    assert (located.host, located.port, located.password) == ("db.example", 5433, "p@ss w/rd")
    assert "p@ss" not in repr(address)


async def test_a_password_may_stand_in_json_and_one_of_the_environment_needs_no_secret(
    reached: Aws,
) -> None:
    reached.instance = INSTANCE
    reached.secrets[f"{NAME}-password"] = '{"username": "x", "password": "from json"}'

    async def password(**environment: str) -> str:
        address = await database.address(load(Choice(database="aws-dev-db"), environment))
        assert address is not None
        return address.password

    assert await password() == "from json"
    calls = len(reached.calls)
    assert await password(DB_PASSWORD="from here") == "from here"
    assert reached.calls[calls:] == ["DescribeDBInstances"]


async def test_the_login_of_a_broker_comes_from_its_secret(reached: Aws) -> None:
    name = "houseprod-housekeeping-hop-prod-credentials"
    reached.secrets[name] = '{"username": "archiver-1", "password": "p"}'
    assert await login_of(load(Choice(source="hop-prod"), {})) == Login("archiver-1", "p")


async def test_the_login_for_the_topic_policy_comes_from_its_secret(reached: Aws) -> None:
    reached.secrets["policy"] = '{"username": "u", "password": "p"}'
    config: Config = load(
        Choice(options={"hopauth-api-url": "https://auth.example", "hopauth-aws-secret-name": "policy"}), {}
    )
    found = {"policy_username": "u", "policy_password": "p", "policy": "http"}
    assert await policy_settings(config) == found


@pytest.mark.parametrize(
    "code", ["ResourceNotFoundException", "ExpiredTokenException", "UnrecognizedClientException"]
)
def test_secrets_that_were_made_anew_are_told_as_a_need_for_new_credentials(
    commands: Commands, there: Aws, code: str
) -> None:
    there.instance, there.refusal = INSTANCE, code
    commands.environment |= there.environment
    told = commands("houseutils", "status", status=1).err
    assert f"houseutils: read the AWS secret {NAME}-password: {code}: " in told
    assert "can't find the specified secret value for staging label: AWSCURRENT" in told
    assert "new credentials are needed" in told
    assert "Traceback" not in told


def test_a_secret_nobody_may_read_is_told_as_such(commands: Commands, there: Aws) -> None:
    there.instance, there.refusal = INSTANCE, "AccessDeniedException"
    commands.environment |= there.environment
    told = commands("houseutils", "status", status=1).err
    assert "these AWS credentials have no right to it" in told


def test_without_aws_credentials_the_command_says_so(commands: Commands) -> None:
    told = commands("houseutils", "status", status=1).err
    assert f"find the RDS instance {NAME}: Unable to locate credentials" in told
    assert "give AWS credentials" in told


def test_an_unknown_instance_is_told(commands: Commands, there: Aws) -> None:
    commands.environment |= there.environment
    assert "DBInstanceNotFound" in commands("houseutils", "status", status=1).err


def test_db_logs_prints_the_two_newest_logs_and_no_text_steers_the_terminal(
    commands: Commands, there: Aws
) -> None:
    there.instance = INSTANCE
    there.logs = {"old": (1, "oldest"), "newest": (3, "line\nback\u202ewards"), "newer": (2, "other")}
    commands.environment |= there.environment
    printed = commands("houseutils", "db_logs", "-D", "aws-dev-db").out
    assert printed.splitlines() == ["==> newest <==", "line", "back\\u202ewards", "==> newer <==", "other"]


async def test_what_does_not_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="see whether AWS can be reached"):
        await aws.secret("name", "us-west-2")


@pytest.mark.postgres
async def test_a_database_of_aws_is_used_like_any_other(
    commands: Commands, there: Aws, postgres_dsn: str
) -> None:
    server = urlsplit(postgres_dsn)
    database_name = server.path.removeprefix("/")
    there.instance = {"name": NAME, "host": server.hostname, "port": server.port}
    there.instance |= {"username": server.username, "database": database_name}
    there.secrets[f"{NAME}-password"] = server.password or ""
    async with postgres_schema(postgres_dsn) as url:
        schema = urlsplit(url).query.removeprefix("schema=")
        commands.environment |= {**there.environment, "SCIMMA_ARCH_DB_SCHEMA": schema}
        counts = commands.process("housekeeping", "run", "-D", "aws-dev-db", "--once-stats").json
        assert counts["stored"] == 4
        uuids = commands.process("houseutils", "uuids", "where topic = 'mock.topic'").out.split()
        assert len(uuids) == 4

"""Stanzas, flat file, options and environment become one configuration (archive contract, section 14)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SettingError
from pipeline.housekeeping.config import Choice, Config, load
from pipeline.housekeeping.keys import FLAT, KEYS
from pipeline.housekeeping.stanzas import SHIPPED_FILE, read

STANZAS = """
[log]
level = "warn"

[mine-db]
db-type = "sql"
db-host = "stanza"
db_port = 1

[mine-hop]
hop-type = "hop"
hop-hostname = "stanza"
hop-vetoed-topics = ["a", "b.*"]
hop-until-eos = true
"""

WORDS = {"true": True, "Yes": True, "on": True, "1": True, "false": False, "NO": False, "off": False}
WORDS |= {"0": False}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(STANZAS)
    return path


def loaded(file: Path, environment: dict[str, str] | None = None, **choice: Any) -> Config:
    return load(Choice(file=file, **choice), environment or {})


def test_a_chosen_stanza_gives_its_keys_and_the_others_have_their_defaults(file: Path) -> None:
    config = loaded(file, database="mine-db", source="mine-hop")
    assert (config.text("db-host"), config.number("db-port")) == ("stanza", 1)
    assert config.names("hop-vetoed-topics") == ("a", "b.*")
    assert config.flag("hop-until-eos")
    assert config.number("hop-port") == 9092
    assert config.text("level") == "WARNING"
    assert config.text("store-type") == "mock", "what is not chosen is a mock"


def test_the_order_is_stanza_then_option_then_environment(file: Path) -> None:
    def host(environment: dict[str, str], **options: str) -> str:
        named = {name.replace("_", "-"): value for name, value in options.items()}
        return loaded(file, environment, database="mine-db", options=named).text("db-host")

    assert host({}) == "stanza"
    assert host({}, db_host="option") == "option"
    assert host({"SCIMMA_ARCH_DB_HOST": "environment"}, db_host="option") == "environment"


def test_names_of_the_second_generation_do_not_change_a_stanza_that_was_named(
    file: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat.toml"
    flat.write_text('db_host = "flat"\n')
    environment = {"DB_HOST": "environment"}
    assert loaded(file, environment, database="mine-db", flat_file=flat).text("db-host") == "stanza"
    assert loaded(file, {}, flat_file=flat).text("db-host") == "flat"
    assert loaded(file, environment).text("db-host") == "environment"


def test_who_names_a_server_and_no_type_means_the_server_and_not_the_mock(file: Path) -> None:
    options = {"kafka-hostname": "broker", "db-host": "database", "store-primary-bucket": "bucket"}
    config = loaded(file, options=options)
    assert [config.text(name) for name in ("hop-type", "db-type", "store-type")] == ["hop", "sql", "S3"]
    config = loaded(file, options={**options, "consumer-type": "mock"})
    assert config.text("hop-type") == "mock"
    assert loaded(file, {"KAFKA_HOSTNAME": "broker"}).text("hop-type") == "hop"
    assert loaded(file, {"SCIMMA_ARCH_HOP_HOSTNAME": "broker"}).text("hop-type") == "mock"


def test_keys_outside_of_every_stanza_are_a_flat_file_of_the_second_generation(tmp_path: Path) -> None:
    path = tmp_path / "flat.toml"
    path.write_text(
        'kafka-hostname = "broker"\nkafka_vetoed_topics = ["x"]\ndb-type = "sql"\ntopic-policy = "all"\n'
        "kafka-until-eos = false\nstore-type = 'S3'\n"
    )
    config = loaded(path)
    assert (config.text("hop-type"), config.text("hop-hostname")) == ("hop", "broker")
    assert config.names("hop-vetoed-topics") == ("x",)
    assert not config.flag("hop-until-eos")


@pytest.mark.parametrize(("text", "meant"), WORDS.items())
def test_false_as_text_is_never_true(file: Path, text: str, *, meant: bool) -> None:
    assert loaded(file, {"READ_ONLY": text}).flag("read-only") is meant
    assert loaded(file, {"SCIMMA_ARCH_HOP_UNTIL_EOS": text}).flag("hop-until-eos") is meant
    assert loaded(file, options={"kafka-until-eos": text}).flag("hop-until-eos") is meant


def test_the_policy_server_of_the_second_generation_is_asked_for_its_list(file: Path) -> None:
    options = {"hopauth-api-url": "https://auth.example/api/"}
    assert loaded(file, options=options).text("topic-policy-url") == "https://auth.example/api/v1/topics"


def test_vetoed_topics_are_separated_by_spaces_in_the_environment(file: Path) -> None:
    assert loaded(file, {"KAFKA_VETOED_TOPICS": "a  b.*"}).names("hop-vetoed-topics") == ("a", "b.*")
    options = {"kafka-vetoed-topics": ["a b", "c"]}
    assert loaded(file, options=options).names("hop-vetoed-topics") == ("a", "b", "c")


@pytest.mark.parametrize("name", sorted(FLAT))
def test_every_name_of_the_second_generation_is_an_option_a_key_and_a_variable(
    name: str, file: Path, tmp_path: Path
) -> None:
    key = FLAT[name]
    text = key.allowed[-1] if key.allowed else {"number": "7", "flag": "yes"}.get(key.form, "INFO")

    def value(config: Config) -> object:
        return (config.text(key.name), config.number(key.name), config.names(key.name))

    expected = value(loaded(file, options={name: text}))
    assert expected != value(loaded(file))
    flat = tmp_path / "flat.toml"
    flat.write_text(f'{name.replace("-", "_")} = "{text}"\n')
    assert value(loaded(file, flat_file=flat)) == expected
    from_environment = value(loaded(file, {name.upper().replace("-", "_"): text}))
    assert (from_environment == expected) is key.environment


@pytest.mark.parametrize(
    ("choice", "environment", "told"),
    [
        ({"database": "their-db"}, {}, "known stanzas: log, mine-db, mine-hop"),
        ({"database": "mine-hop"}, {}, "a database stanza has no such key; known keys: db-aws-region"),
        ({"options": {"kafka-port": "many"}}, {}, "a whole number is wanted"),
        ({"options": {"kafka-port": "-1"}}, {}, "it is negative"),
        ({"options": {"db-type": "oracle"}}, {}, "allowed: mock, local, aws, sql, sqlite"),
        ({}, {"READ_ONLY": "maybe"}, "allowed: true, false, yes, no, on, off, 1, 0"),
        ({}, {"SCIMMA_ARCH_NO_SUCH_KEY": "1"}, "there is no such key; known keys: "),
        ({}, {"LOG_LEVEL": "loud"}, "allowed: DEBUG, INFO"),
    ],
)
def test_what_is_wrong_is_refused_with_what_is_known(
    file: Path, choice: dict[str, Any], environment: dict[str, str], told: str
) -> None:
    with pytest.raises(SettingError) as caught:
        loaded(file, environment, **choice)
    assert told in str(caught.value)


def test_a_password_in_a_file_is_refused(tmp_path: Path) -> None:
    flat = tmp_path / "flat.toml"
    flat.write_text('db-password = "hunter2"\n')
    with pytest.raises(SettingError) as caught:
        loaded(flat)
    assert "passwords have none" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_shipped_file_has_every_stanza_commands_ask_for_and_each_can_be_read() -> None:
    stanzas = read(SHIPPED_FILE).stanzas
    kinds = {"db": "database", "store": "store", "S3": "store", "hop": "source", "log": "log"}
    for name in stanzas:
        kind = next(kind for part, kind in kinds.items() if part in name.split("-"))
        chosen: dict[str, Any] = {kind: name}
        load(Choice(file=SHIPPED_FILE, **chosen), {})
    wanted = "log mock-db local-db mock-store mock-hop hop-local local-store aws-dev-db aws-prod-db"
    assert {*wanted.split(), "S3-dev", "S3-prod", "hop-prod"} <= set(stanzas)


def test_defaults_are_of_the_form_of_their_key() -> None:
    forms = {"text": str, "number": int, "flag": bool, "names": tuple, "text or flag": str}
    assert all(isinstance(key.default, forms[key.form]) for key in KEYS.values())

"""Logins from a credential file, from AWS and from the environment (archive contract, section 4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingError
from pipeline.housekeeping.config import Choice, load
from pipeline.housekeeping.credentials import Login, from_file, from_secret
from pipeline.housekeeping.source import group_of, login_of, source_settings

FILE = """
[[auth]]
username = "anywhere"
password = "a"

[[auth]]
username = "exact"
password = "b"
hostname = "broker.example"
protocol = "sasl_plaintext"
mechanism = "SCRAM_SHA_256"
ssl_ca_location = "/etc/ca.pem"

[[auth]]
username = "port"
password = "c"
hostname = "broker.example:9093"
"""


def written(folder: Path, text: str = FILE, mode: int = 0o600) -> Path:
    path = folder / "auth.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_an_entry_of_exactly_the_host_comes_before_those_of_any_host(tmp_path: Path) -> None:
    path = written(tmp_path)
    exact = from_file(path, host="broker.example", port=9092)
    assert exact == Login(
        "exact", "b", "SASL_PLAINTEXT", "SCRAM-SHA-256", "/etc/ca.pem", hostname="broker.example"
    )
    assert from_file(path, host="broker.example", port=9093).username == "port"
    other = from_file(path, host="other.example", port=9092)
    assert (other.username, other.protocol, other.mechanism) == ("anywhere", "SASL_SSL", "SCRAM-SHA-512")


def test_a_user_chooses_among_the_entries(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert from_file(path, host="broker.example", port=9092, username="anywhere").password == "a"
    with pytest.raises(SettingError, match="there is no entry of user nobody for that host"):
        from_file(path, host="broker.example", port=9092, username="nobody")


def test_several_entries_are_an_error_that_names_them_without_their_passwords(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "\n".join(f'[[auth]]\nusername = "{name}"\npassword = "hunter2"' for name in ("one", "two")),
    )
    with pytest.raises(SettingError) as caught:
        from_file(path, host="any", port=1)
    assert "one (any host), two (any host)" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_single_table_is_the_older_form(tmp_path: Path) -> None:
    path = written(tmp_path, '[auth]\nusername = "old"\npassword = "p"\n')
    assert from_file(path, host="any", port=1).username == "old"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o601, 0o4600, 0o1600])
def test_a_file_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, mode=mode)
    with pytest.raises(SettingError, match="unsafe permissions"):
        from_file(path, host="any", port=1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[auth]]\nusername = 'x'\n", "no username or no password"),
        ("[[auth]]\nusername = 1\npassword = 'x'\n", "every value in .* is text"),
        ("[[auth]]\nuser = 'x'\n", "unknown in .*: user"),
        ("auth = 1\n", "logins stand in tables"),
        ("not toml", "not TOML"),
        ("", "there is no entry"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        from_file(written(tmp_path, text), host="any", port=1)


def test_a_secret_is_json_or_pairs_and_each_form_has_its_mechanism() -> None:
    assert from_secret('{"username": "u", "password": "p q"}', name="s") == Login("u", "p q")
    login = from_secret('username="u" password="p q" user_x="y"', name="s")
    assert login == Login("u", "p q", mechanism="PLAIN")
    for wrong in ("", "{", '{"username": "u"}', 'username="u"', '{"username": 1, "password": "p"}'):
        with pytest.raises(SettingError, match="AWS secret s"):
            from_secret(wrong, name="s")


def test_no_password_is_ever_shown(tmp_path: Path) -> None:
    login = from_file(written(tmp_path), host="broker.example", port=9092)
    assert "'b'" not in repr(login)


async def test_the_environment_comes_before_the_file_and_nobody_logs_in_at_a_plain_broker(
    tmp_path: Path,
) -> None:
    path = written(tmp_path)
    stanzas = tmp_path / "h.toml"
    stanzas.write_text(
        f'[hop]\nhop-type = "hop"\nhop-hostname = "broker.example"\nhop-local-auth = "{path}"'
    )

    async def login(**environment: str) -> Login | None:
        return await login_of(load(Choice(file=stanzas, source="hop"), environment))

    assert await login(HOP_USERNAME="me", KAFKA_PASSWORD="x") == Login("me", "x")
    assert await login(HOP_USERNAME="me", HOP_PASSWORD="y") == Login("me", "y")
    found = await login()
    assert found is not None
    assert found.username == "exact"
    found = await login(HOP_USERNAME="anywhere")
    assert found is not None
    assert found.password == "a"
    plain = {"HOP_USERNAME": "me", "HOP_PASSWORD": "y", "SCIMMA_ARCH_HOP_PROTOCOL": "PLAINTEXT"}
    assert await login(**plain) is None
    assert await login(SCIMMA_ARCH_HOP_LOCAL_AUTH="no") is None


async def test_the_usual_file_is_the_one_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "hop").mkdir()
    written(tmp_path / "hop")
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "KAFKA_LOCAL_AUTH": "true", "KAFKA_HOSTNAME": "x"}
    found = await login_of(load(Choice(), environment))
    assert found is not None
    assert found.username == "anywhere"


async def test_a_login_becomes_how_the_broker_is_reached(tmp_path: Path) -> None:
    path = written(tmp_path)
    options = {"kafka-hostname": "broker.example", "kafka-local-auth": str(path), "kafka-groupname": "g"}
    settings = await source_settings(load(Choice(options=options), {}))
    assert settings["source"] == "kafka://broker.example:9092"
    assert settings["group"] == "exact-g"
    assert settings["kafka"] == {
        "tls": False,
        "ca_file": "/etc/ca.pem",
        "sasl_mechanism": "SCRAM-SHA-256",
        "username": "exact",
        "password": "b",
    }


async def test_a_broker_that_wants_a_login_and_gets_none_is_refused() -> None:
    environment = {"SCIMMA_ARCH_HOP_PROTOCOL": "SASL_SSL", "KAFKA_HOSTNAME": "x"}
    with pytest.raises(SettingError, match="nobody is named to log in"):
        await source_settings(load(Choice(), environment))


def test_a_random_group_is_one_of_ten_thousand_of_the_user() -> None:
    environment = {"KAFKA_GROUPNAME": "*random*", "KAFKA_USERNAME": "me"}
    name, _, number = group_of(load(Choice(), environment), None).partition("-")
    assert name == "me"
    assert 0 <= int(number) <= 10_000

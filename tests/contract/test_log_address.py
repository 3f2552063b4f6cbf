"""The setting `log`: the user may stand in the address, a password never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.clock import SystemClock
from pipeline.errors import SettingError
from pipeline.log.location import make_log, where
from pipeline.settings import Settings, load


def settings_of(folder: Path, log: str, **kafka: Any) -> Settings:
    overrides = {"data": str(folder), "log": log, "kafka": kafka}
    return load(overrides, environment={"XDG_CONFIG_HOME": str(folder)}).settings


@pytest.mark.parametrize(
    ("log", "kafka", "username"),
    [
        ("kafka://h:9092,i:9093", {}, ""),
        ("kafka://alice@h:9092,i:9093", {}, "alice"),
        ("kafka://h:9092,i:9093", {"username": "alice"}, "alice"),
        ("kafka://alice@h:9092,i:9093/", {"username": "alice"}, "alice"),
    ],
)
def test_the_user_stands_in_the_address_or_beside_it(
    tmp_path: Path, log: str, kafka: dict[str, Any], username: str
) -> None:
    connection = where(settings_of(tmp_path, log, **kafka)).connection
    assert connection is not None
    assert (connection.username, connection.bootstrap_servers) == (username, ("h:9092", "i:9093"))


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("kafka://", "allowed: embedded:"),
        ("kafka://alice@", "allowed: embedded:"),
        ("kafka://h:9092/topic", "names topics"),
        ("kafka://h:9092?x=1", "allowed: embedded:"),
        ("kafka://alice:secret@h:9092", "shows up in logs"),
        ("kafka://alice@h:9092", "names another user"),
        ("embedded:folder", "allowed: embedded:"),
    ],
)
def test_a_wrong_address_is_told_with_what_is_allowed_and_never_with_a_password(
    tmp_path: Path, log: str, told: str
) -> None:
    with pytest.raises(SettingError, match=told) as caught:
        make_log(settings_of(tmp_path, log, username="bob"), SystemClock())
    assert "secret" not in str(caught.value)

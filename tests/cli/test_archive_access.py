"""headrace archive user, announce: what lets clients in, and tells them where to upload."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import sys
import tomllib

import pytest

from pipeline.archive.access.users import parse_users
from tests.cli.command import Command


def test_the_entry_of_a_user_checks_the_password_and_does_not_hold_it(
    headrace: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("open sesame\n"))
    result = headrace.plain("archive", "user", 'al "ice"')
    assert "sesame" not in result.text + result.err
    (table,) = tomllib.loads(result.text)["user"]
    keys = parse_users([table], "test").keys_of('al "ice"')
    salted = hashlib.pbkdf2_hmac("sha512", b"open sesame", keys.salt, keys.iterations)
    client_key = hashlib.sha512(_hmac(salted, b"Client Key")).digest()
    assert (keys.stored_key, keys.server_key) == (client_key, _hmac(salted, b"Server Key"))
    assert len(base64.b64decode(table["scram-sha-512"]["salt"])) == 16
    assert (table["read"], table["write"], table["owner"], table["groups"]) == ([], [], [], [])


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha512")


def test_a_token_is_shown_once_beside_its_entry(headrace: Command) -> None:
    result = headrace.plain("archive", "user", "bob", "--token")
    token = result.err.split(": ")[1].strip()
    users = parse_users(tomllib.loads(result.text)["user"], "test")
    found = users.with_token(token)
    assert found is not None
    assert found.name == "bob"
    assert token not in result.text
    assert users.with_token(token + "x") is None


def test_a_password_with_what_none_can_have_is_refused(
    headrace: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\x07b\n"))
    result = headrace.plain("archive", "user", "alice", code=2)
    assert "control characters" in result.err


def test_an_address_that_is_not_set_is_not_announced(headrace: Command) -> None:
    assert "archive.external_url" in headrace("archive announce", code=2).err


def test_nothing_is_announced_where_no_client_reads_it(
    headrace: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_ARCHIVE__EXTERNAL_URL", "https://archive.example.org/api/archive")
    assert "embedded" in headrace("archive announce", code=2).err

"""Who may do what with the archive, and how callers prove who they are (RFC 5802, RFC 7804)."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
from pathlib import Path
from typing import Any

import bson
import pytest

from pipeline import limits_archive
from pipeline.archive.access.users import make_entry, make_token_entry
from pipeline.clock import ManualClock
from pipeline.errors import SettingError
from tests.web.archive_site import (
    PASSWORD,
    PRIVATE,
    PUBLIC,
    TOKEN,
    Answer,
    ArchiveSite,
    a_message,
    archive_site,
    parameters,
    policy,
)

BODY = bson.encode({"message": b"hello"})
SHORT = "{ salt = '', iterations = 1, stored_key = '', server_key = '' }"


def _final(answer: Answer) -> str:
    """Return the server's last word of an authentication."""
    return base64.b64decode(parameters(answer.headers["Authentication-Info"])["data"]).decode()


@pytest.mark.parametrize(
    ("name", "reads", "writes"),
    [
        (None, {PUBLIC}, set()),
        ("nobody", {PUBLIC}, set()),
        ("reader", {PUBLIC, PRIVATE}, set()),
        ("writer", {PUBLIC}, {PUBLIC, PRIVATE}),
        ("owner", {PUBLIC, PRIVATE}, {PUBLIC, PRIVATE}),
    ],
)
async def test_rights_are_those_of_the_policy_file(
    archive: ArchiveSite, name: str | None, reads: set[str], writes: set[str]
) -> None:
    (public,) = await archive.store(a_message(1))
    (private,) = await archive.store(a_message(2, topic=PRIVATE), public=False)

    async def ask(path: str, method: str = "GET", **how: Any) -> int:
        answer = (
            archive.ask(path, method, **how) if name is None else archive.ask_as(name, path, method, **how)
        )
        return (await answer).status

    refused = 401 if name is None else 403
    for topic, row in ((PUBLIC, public), (PRIVATE, private)):
        assert await ask(f"/msg/{row.uuid}") == (200 if topic in reads else refused)
        assert await ask(f"/topic/{topic}", "POST", data=BODY) == (201 if topic in writes else refused)
        # The same rules for the topic of its oversized messages.
        assert await ask(f"/topic/{topic}+oversized", "POST", data=BODY) == (
            201 if topic in writes else refused
        )


async def test_with_every_topic_public_uploads_still_need_a_user(tmp_path: Path) -> None:
    async with archive_site(tmp_path, policy="all") as archive:
        assert (await archive.ask(f"/topic/{PUBLIC}", "POST", data=BODY)).status == 401
        assert (await archive.ask_as("writer", f"/topic/{PUBLIC}", "POST", data=BODY)).status == 201
        assert (await archive.ask_as("nobody", f"/topic/{PUBLIC}", "POST", data=BODY)).status == 403


async def test_without_users_nobody_uploads(tmp_path: Path) -> None:
    async with archive_site(tmp_path, policy="all", policy_file="") as archive:
        for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}):
            answer = await archive.ask(f"/topic/{PUBLIC}", "POST", data=BODY, headers=headers)
            assert answer.status == 401
        answer = await archive.ask_as("writer", f"/topic/{PUBLIC}", "POST", data=BODY)
        assert (answer.status, _final(answer)) == (401, "e=invalid-proof")


# --- bearer tokens ---


async def test_a_token_stands_for_its_user(archive: ArchiveSite) -> None:
    await archive.store(a_message(topic=PRIVATE), public=False)
    headers = {"Authorization": f"bearer {TOKEN}"}
    answer = await archive.ask(f"/topic/{PRIVATE}", headers=headers)
    assert len(answer.document["messages"]) == 1
    assert "Authentication-Info" not in answer.headers


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", "Basic ZGF2ZTp4", "", "Digest a=b"],
)
async def test_a_wrong_credential_is_a_401_also_where_none_is_needed(
    archive: ArchiveSite, header: str
) -> None:
    answer = await archive.ask("/messages", headers={"Authorization": header})
    assert (answer.status, answer.message) == (401, "Authentication failed")
    assert answer.headers["WWW-Authenticate"] == 'SCRAM-SHA-512 realm="headrace"'


# --- SCRAM ---


async def test_the_server_proves_itself_also_when_it_refuses(archive: ArchiveSite) -> None:
    path = f"/topic/{PUBLIC}"
    assert _final(await archive.ask_as("writer", path, "POST", data=BODY)).startswith("v=")
    assert _final(await archive.ask_as("nobody", path, "POST", data=BODY)).startswith("v=")
    assert _final(await archive.ask_as("writer", path, "POST", data=b"no bson")).startswith("v=")
    assert _final(await archive.ask_as("writer", path)).startswith("v=")


@pytest.mark.parametrize("name", ["writer", "no such user", "dave"])
async def test_a_wrong_password_and_an_unknown_user_look_the_same(archive: ArchiveSite, name: str) -> None:
    password = "wrong" if name == "writer" else PASSWORD
    answer = await archive.ask_as(name, f"/topic/{PUBLIC}", "POST", password=password, data=BODY)
    assert (answer.status, answer.message) == (401, "Authentication failed")
    assert _final(answer) == "e=invalid-proof"


async def test_an_unknown_user_gets_the_same_salt_each_time(archive: ArchiveSite) -> None:
    salts = set()
    for name in ("no such user", "no such user", "another"):
        _, _, challenge = await archive.begin(name, "/topics")
        data = parameters(challenge.headers["WWW-Authenticate"].partition(" ")[2])["data"]
        salts.add(base64.b64decode(data).decode().split(",")[1])
    assert len(salts) == 2


async def test_a_session_ends_with_its_use(archive: ArchiveSite) -> None:
    _, header, _ = await archive.begin("reader", "/topics")
    assert (await archive.ask("/topics", headers={"Authorization": header})).status == 200
    again = await archive.ask("/topics", headers={"Authorization": header})
    assert (again.status, _final(again)) == (401, "e=other-error")
    # A failure ends it too: nobody tries several passwords in one.
    client, header, _ = await archive.begin("reader", "/topics", password="wrong")
    assert (await archive.ask("/topics", headers={"Authorization": header})).status == 401
    assert _final(await archive.ask("/topics", headers={"Authorization": header})) == "e=other-error"
    del client


async def test_a_session_ends_with_its_time(tmp_path: Path) -> None:
    clock = ManualClock(dt.datetime(2024, 1, 2, tzinfo=dt.UTC))
    async with archive_site(tmp_path, clock) as archive:
        _, header, _ = await archive.begin("reader", "/topics")
        clock.advance(limits_archive.SCRAM_SESSION_SECONDS + 1)
        answer = await archive.ask("/topics", headers={"Authorization": header})
        assert (answer.status, _final(answer)) == (401, "e=other-error")
        _, header, _ = await archive.begin("reader", "/topics")
        clock.advance(limits_archive.SCRAM_SESSION_SECONDS - 1)
        assert (await archive.ask("/topics", headers={"Authorization": header})).status == 200


async def test_the_oldest_session_gives_way(archive: ArchiveSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_archive, "SCRAM_SESSIONS_MAX", 2)
    headers = [(await archive.begin("reader", "/topics"))[1] for _ in range(3)]
    statuses = [(await archive.ask("/topics", headers={"Authorization": each})).status for each in headers]
    assert statuses == [401, 200, 200]


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "data",
        "data=",
        "data=%%%",
        "data=" + base64.b64encode(b"n,,").decode(),
        "data=" + base64.b64encode(b"n,,n=reader,r=").decode(),
        "data=" + base64.b64encode(b"p=tls-unique,,n=reader,r=abc").decode(),
        "data=" + base64.b64encode(b"n,,n=" + b"x" * 20_000 + b",r=abc").decode(),
        "data=" + base64.b64encode(b"\xff\xfe").decode(),
        "sid=a,data=",
        "sid=,data=bg==",
        'sid="x y",data=bg==',
        "sid=x\xe9y,data=bg==",
    ],
)
async def test_what_makes_no_sense_is_a_401(archive: ArchiveSite, rest: str) -> None:
    answer = await archive.ask("/topics", headers={"Authorization": f"SCRAM-SHA-512 {rest}"})
    assert answer.status in {400, 401}


async def test_the_message_of_another_session_proves_nothing(archive: ArchiveSite) -> None:
    _, first, _ = await archive.begin("reader", "/topics")
    _, second, _ = await archive.begin("owner", "/topics")
    mixed = f"{first.partition(',data=')[0]},data={second.partition(',data=')[2]}"
    answer = await archive.ask("/topics", headers={"Authorization": mixed})
    assert answer.status == 401
    assert _final(answer).startswith("e=")


# --- users ---


async def _rewrite(file: Path, text: str) -> None:
    def write() -> None:
        new = file.with_suffix(".new")
        new.write_text(text)
        new.replace(file)

    await asyncio.to_thread(write)


async def test_users_come_and_go_with_the_file(tmp_path: Path) -> None:
    clock = ManualClock(dt.datetime(2024, 1, 2, tzinfo=dt.UTC))
    async with archive_site(tmp_path, clock) as archive:
        token, entry = make_token_entry("eve")
        bearer: dict[str, Any] = {"headers": {"Authorization": f"Bearer {token}"}}
        assert (await archive.ask("/topics", **bearer)).status == 401
        await _rewrite(archive.policy_file, policy() + entry)
        clock.advance(limits_archive.USERS_LOOK_SECONDS)
        assert (await archive.ask("/topics", **bearer)).status == 200
        # What cannot be read changes nothing.
        await _rewrite(archive.policy_file, "[[user]]\nname = 1")
        clock.advance(limits_archive.USERS_LOOK_SECONDS)
        assert (await archive.ask("/topics", **bearer)).status == 200
        await _rewrite(archive.policy_file, policy())
        clock.advance(limits_archive.USERS_LOOK_SECONDS)
        assert (await archive.ask("/topics", **bearer)).status == 401


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[[user]]\nname = ''\ntoken_sha256 = '" + "0" * 64 + "'", "the name is empty"),
        ("[[user]]\nname = 'a'", "neither scram-sha-512 nor token_sha256"),
        ("[[user]]\nname = 'a'\ntoken_sha256 = 'abc'", "64 hexadecimal digits"),
        ("[[user]]\nname = 'a'\npassword = 'x'", "password"),
        ("[[user]]\nname = 'reader'\ntoken_sha256 = '" + "0" * 64 + "'", "more than once"),
        (f"[[user]]\nname = 'a'\nscram-sha-512 = {SHORT}", "64 bytes"),
    ],
)
async def test_a_wrong_user_is_refused_at_start(tmp_path: Path, table: str, said: str) -> None:
    file = tmp_path / "users.toml"
    file.write_text(policy() + table)
    with pytest.raises(SettingError, match=said):
        async with archive_site(tmp_path, policy_file=str(file)):
            pass


async def test_a_made_entry_is_one_that_works(tmp_path: Path) -> None:
    name, password = 'odd "name", = \\ ü', "pässword ½"
    entry = make_entry(name, password).replace("read = []", 'read = ["alerts.*"]')
    file = tmp_path / "users.toml"
    file.write_text(policy() + entry)
    async with archive_site(tmp_path, policy_file=str(file)) as archive:
        await archive.store(a_message(topic=PRIVATE), public=False)
        answer = await archive.ask_as(name, f"/topic/{PRIVATE}", password=password)
        assert len(answer.document["messages"]) == 1

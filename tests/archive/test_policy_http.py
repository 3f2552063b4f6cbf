"""The policy of a server: asked with a token, by SCRAM (RFC 7804) or Basic; a real server answers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestServer
from scramp import ScramException, ScramMechanism

from pipeline import limits, limits_archive
from pipeline.archive.source.policies import make_policy
from pipeline.archive.source.policy import TopicPolicy, TopicRule
from pipeline.errors import SettingError, Unavailable
from pipeline.settings import load

USER, PASSWORD, TOKEN = "alice", "correct horse", "t0ken"
ANSWER = [
    {"pk": 7, "name": "alerts", "archivable": True, "publicly_readable": True, "owning_group": "gw"},
    {"name": "lab", "archivable": False, "publicly_readable": False, "description": "not ours"},
]
_MECHANISM = ScramMechanism("SCRAM-SHA-512")
_KEYS = _MECHANISM.make_auth_info(PASSWORD, iteration_count=4096)


class Identity:
    """A server with a list of topics, of one way to tell who asks."""

    def __init__(self) -> None:
        self.way = "none"
        self.answer: bytes = json.dumps(ANSWER).encode()
        self.proves = True
        """Whether it shows that it knows the password."""
        self.paths: list[str] = []
        self.heard: list[str] = []
        self._session: Any = None

    async def handle(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        said = request.headers.get("Authorization", "")
        self.heard.append(said)
        known: Callable[[str], Awaitable[dict[str, str] | None]] = getattr(self, f"_{self.way}")
        headers = await known(said)
        if headers is None or "WWW-Authenticate" in headers:
            return web.Response(status=401, headers=headers or {"WWW-Authenticate": "Basic realm=topics"})
        return web.Response(body=self.answer, headers=headers, content_type="application/json")

    async def _none(self, said: str) -> dict[str, str] | None:
        return {} if said == "" else None

    async def _token(self, said: str) -> dict[str, str] | None:
        return {} if said == f"Bearer {TOKEN}" else None

    async def _basic(self, said: str) -> dict[str, str] | None:
        return {} if said == encode_basic_auth(USER, PASSWORD) else None

    async def _scram(self, said: str) -> dict[str, str] | None:
        values = dict(re.findall(r"(\w+)=([^,\s]+)", said))
        message = base64.b64decode(values.get("data", "")).decode()
        try:
            if "sid" not in values:
                self._session = _MECHANISM.make_server(lambda _: _KEYS)
                self._session.set_client_first(message)
                first = base64.b64encode(self._session.get_server_first().encode()).decode()
                return {"WWW-Authenticate": f'SCRAM-SHA-512 realm="topics", sid="s1", data="{first}"'}
            assert values["sid"] == "s1"
            self._session.set_client_final(message)
        except ScramException:
            return {"WWW-Authenticate": "SCRAM-SHA-512"}
        final = self._session.get_server_final() if self.proves else "v=" + "A" * 86 + "=="
        return {"Authentication-Info": f"sid=s1,data={base64.b64encode(final.encode()).decode()}"}


@pytest.fixture
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Identity, str]]:
    """Give a server and its address; calls are tried once."""
    monkeypatch.setattr(limits, "CALL_BACKOFF_SECONDS", 0.001)
    made = Identity()
    application = web.Application()
    application.router.add_get("/{path:.*}", made.handle)
    async with TestServer(application) as server:
        yield made, str(server.make_url(""))


def policy_of(url: str, **archive: Any) -> TopicPolicy:
    chosen = {"policy": "http", "policy_url": url, **archive}
    return make_policy(load({"archive": chosen}, environment={"XDG_CONFIG_HOME": "/nowhere"}).settings)


async def test_the_list_is_asked_for_where_upstream_has_it_unless_a_path_is_given(
    identity: tuple[Identity, str],
) -> None:
    server, url = identity
    for asked in (url, f"{url}/", f"{url}/other/list"):
        policy = policy_of(asked)
        await policy.refresh()
        assert policy.rule("alerts+oversized") == TopicRule(
            "alerts", archivable=True, publicly_readable=True, owning_group="gw"
        )
        assert policy.rule("lab") == TopicRule("lab")
    assert server.paths == ["/v1/topics", "/v1/topics", "/other/list"]


@pytest.mark.parametrize(
    ("way", "credentials"),
    [
        ("token", {"policy_token": TOKEN}),
        ("basic", {"policy_username": USER, "policy_password": PASSWORD}),
        ("scram", {"policy_username": USER, "policy_password": PASSWORD}),
    ],
)
async def test_whoever_shows_the_right_credential_is_answered_and_nobody_else(
    identity: tuple[Identity, str], way: str, credentials: dict[str, str]
) -> None:
    server, url = identity
    server.way = way
    policy = policy_of(url, **credentials)
    await policy.refresh()
    assert policy.rule("alerts").archivable
    for wrong in ({}, dict.fromkeys(credentials, "wrong")):
        with pytest.raises(SettingError):
            await policy_of(url, **wrong).refresh()


async def test_the_password_never_leaves_where_scram_is_spoken(identity: tuple[Identity, str]) -> None:
    server, url = identity
    server.way = "scram"
    await policy_of(url, policy_username=USER, policy_password=PASSWORD).refresh()
    assert len(server.heard) == 2
    basic = encode_basic_auth(USER, PASSWORD).removeprefix("Basic ")
    for said in server.heard:
        assert said.startswith("SCRAM-SHA-512 ")
        assert basic not in said
        assert PASSWORD.encode() not in base64.b64decode(said.rpartition("data=")[2])


async def test_a_password_is_never_sent_in_the_clear_to_another_machine(
    identity: tuple[Identity, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = identity
    server.way = "basic"
    monkeypatch.setattr("pipeline.archive.source.policy_http._private", lambda _: False)
    with pytest.raises(SettingError, match="in the clear"):
        await policy_of(url, policy_username=USER, policy_password=PASSWORD).refresh()
    assert not any(said.startswith("Basic") for said in server.heard)


async def test_the_answer_of_a_server_that_does_not_know_the_password_counts_for_nothing(
    identity: tuple[Identity, str],
) -> None:
    server, url = identity
    server.way, server.proves = "scram", False
    policy = policy_of(url, policy_username=USER, policy_password=PASSWORD)
    with pytest.raises(SettingError, match="SCRAM-SHA-512 failed"):
        await policy.refresh()
    assert policy.rule("alerts") == TopicRule("alerts")


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b"[1]", b'[{"archivable": true}]', b'[{"name": 1}]', b"[" * 5000]
)
async def test_what_is_no_list_of_topics_is_refused_and_the_last_rules_stay(
    identity: tuple[Identity, str], answer: bytes
) -> None:
    server, url = identity
    policy = policy_of(url)
    await policy.refresh()
    server.answer = answer
    with pytest.raises(SettingError, match="JSON list"):
        await policy.refresh()
    assert policy.rule("alerts").archivable


async def test_an_answer_above_the_limit_is_refused(
    identity: tuple[Identity, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = identity
    server.answer = b" " * 3_000_000 + server.answer
    await policy_of(url).refresh()
    monkeypatch.setattr(limits_archive, "POLICY_MAX_BYTES", 2_000_000)
    with pytest.raises(SettingError, match="more than 2000000 bytes"):
        await policy_of(url).refresh()


async def test_a_server_that_is_away_is_told(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALL_BACKOFF_SECONDS", 0.001)
    policy = policy_of(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(Unavailable, match="up and reachable"):
        await policy.refresh()
    assert not (await policy.fresh_rule("alerts", 0)).archivable

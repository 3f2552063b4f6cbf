"""The topic policy a server has: the JSON list that upstream's identity service answers (section 3).

Asks with a bearer token, or with a user name: SCRAM-SHA-512 over HTTP (RFC 7804), where the password never
leaves this process and the server proves that it knows it too. Basic is fallen back to only where nobody
can listen: over TLS or on this machine.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import re
from collections.abc import Iterable

import aiohttp
import msgspec
from scramp import ScramClient, ScramException
from yarl import URL

from pipeline import limits_archive, outside
from pipeline.archive.source.policy import LearnedPolicy, TopicRule
from pipeline.clock import Clock
from pipeline.errors import SettingError, Unavailable

MECHANISM = "SCRAM-SHA-512"
TOPICS_PATH = "/v1/topics"
_DECODER = msgspec.json.Decoder(list[TopicRule])
_PARAMETER = re.compile(r'(\w+)\s*=\s*"?([^",\s]*)"?')
_OK, _UNAUTHORIZED, _SERVER_ERROR = 200, 401, 500


class HttpPolicy(LearnedPolicy):
    """The rules a server answers.

    Args:
        url: What to ask; without a path, ``/v1/topics`` is.
        clock: Tells how old the answer is.
        kept_seconds: How long it is good enough.
        username: Asks with this user; empty for none.
        password: The user's password.
        token: Asks with this bearer token, which wins over a user.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        kept_seconds: float,
        *,
        username: str = "",
        password: str = "",
        token: str = "",
    ) -> None:
        super().__init__(clock, kept_seconds)
        asked = URL(url)
        self._url = asked.with_path(TOPICS_PATH) if asked.path in {"", "/"} else asked
        self._username = username
        self._password = password
        self._token = token

    async def ask(self) -> Iterable[TopicRule]:
        """Ask the server.

        Raises:
            Unavailable: It does not answer.
            SettingError: It refuses us, does not know the password itself, or answers no list of topics.
        """
        body = await outside.call(
            "policy", "topics", self._attempt, timeout_seconds=limits_archive.POLICY_TIMEOUT_SECONDS
        )
        try:
            return _DECODER.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SettingError(
                f"read the topic policy of {self._url}",
                str(error),
                "it must answer a JSON list of objects with name, archivable and publicly_readable",
            ) from error

    async def _attempt(self) -> bytes:
        try:
            async with aiohttp.ClientSession(auto_decompress=True) as session:
                if self._token:
                    return await self._get(session, {"Authorization": f"Bearer {self._token}"})
                if self._username:
                    return await self._prove(session)
                return await self._get(session, {})
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(
                self._question, str(error) or repr(error), "see whether it is up and reachable"
            ) from error

    async def _get(self, session: aiohttp.ClientSession, headers: dict[str, str]) -> bytes:
        async with session.get(self._url, headers=headers, allow_redirects=False) as answer:
            return await self._body(answer)

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        if answer.status != _OK:
            kind = Unavailable if answer.status >= _SERVER_ERROR else SettingError
            why = f"it answers {answer.status} {answer.reason}"
            raise kind(self._question, why, "see its address, and user, password or token")
        body = await answer.content.read(limits_archive.POLICY_MAX_BYTES + 1)
        while len(body) <= limits_archive.POLICY_MAX_BYTES and (more := await answer.content.readany()):
            body += more
        if len(body) > limits_archive.POLICY_MAX_BYTES:
            raise self._failed(f"its answer has more than {limits_archive.POLICY_MAX_BYTES} bytes")
        return body

    # --- SCRAM (RFC 5802 in the messages of RFC 7804) ---

    async def _prove(self, session: aiohttp.ClientSession) -> bytes:
        """Ask with the user: first what the server says to our name, then with the proof."""
        try:
            client = ScramClient([MECHANISM], self._username, self._password)
            first = f"{MECHANISM} data={_encoded(client.get_client_first())}"
            async with session.get(
                self._url, headers={"Authorization": first}, allow_redirects=False
            ) as answer:
                if answer.status != _UNAUTHORIZED:
                    return await self._body(answer)  # it asks for no proof
                challenges = answer.headers.getall("WWW-Authenticate", [])
            told = next((each for each in challenges if each.upper().startswith(MECHANISM)), None)
            if told is None:
                return await self._basic(session, challenges)
            said = dict(_PARAMETER.findall(told[len(MECHANISM) :]))
            client.set_server_first(_decoded(said))
            # Up to ten million rounds of hashing, as the server asks.
            final = await asyncio.to_thread(client.get_client_final)
            proof = f"{MECHANISM} sid={said.get('sid', '')},data={_encoded(final)}"
            async with session.get(
                self._url, headers={"Authorization": proof}, allow_redirects=False
            ) as answer:
                body = await self._body(answer)
                client.set_server_final(
                    _decoded(dict(_PARAMETER.findall(answer.headers.get("Authentication-Info", ""))))
                )
                return body
        except (ScramException, ValueError, binascii.Error) as error:
            raise self._failed(f"{MECHANISM} failed: {error}", "see user and password") from error

    async def _basic(self, session: aiohttp.ClientSession, challenges: list[str]) -> bytes:
        if not any(each.lower().startswith("basic") for each in challenges):
            raise self._failed("it offers neither SCRAM-SHA-512 nor Basic", "use a bearer token")
        if not _private(self._url):
            raise self._failed("it wants the password in the clear", "use https, or a server with SCRAM")
        return await self._get(
            session, {"Authorization": aiohttp.encode_basic_auth(self._username, self._password)}
        )

    def _failed(self, why: str, todo: str = "") -> SettingError:
        return SettingError(self._question, why, todo)

    @property
    def _question(self) -> str:
        return f"ask {self._url} for the topic policy"


def _private(url: URL) -> bool:
    """Tell whether nobody can listen to what is said to a server."""
    if url.scheme == "https" or url.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.host or "").is_loopback
    except ValueError:
        return False


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(said: dict[str, str]) -> str:
    return base64.b64decode(said.get("data", ""), validate=True).decode()

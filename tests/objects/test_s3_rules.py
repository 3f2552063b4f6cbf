"""Life-cycle rules of a bucket (dispatcher contract, section 18).

The S3 server of the tests keeps none, so here stands a server that keeps the document it is sent, and
refuses what S3 refuses. What passes between it and the client is what passes between the client and S3.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pipeline import limits
from pipeline.errors import SettingError, Unavailable
from pipeline.objects.s3_config import S3Config
from pipeline.objects.s3_rules import BucketRules
from tests.conftest import S3Server

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
HEAD = '<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
THEIRS = (
    "<Rule><ID>theirs</ID><Filter><And><Prefix>logs/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And>"
    "</Filter><Status>Disabled</Status><Transition><Days>7</Days><StorageClass>GLACIER</StorageClass>"
    "</Transition></Rule>"
)


def ours(source: str, days: int, *, prefix: str = "") -> str:
    """Write a rule as the reference does, in the older of the two notations."""
    return (
        f"<Rule><ID>BackupExpiryFor-{source}</ID><Prefix>{prefix or source}/</Prefix>"
        f"<Status>Enabled</Status><Expiration><Days>{days}</Days></Expiration></Rule>"
    )


class RuleKeeper:
    """The part of S3 that keeps the rules of one bucket."""

    def __init__(self) -> None:
        self.document: str | None = None
        self.writes = 0
        self.refusal: tuple[int, str] | None = None
        self.url = ""

    def give(self, *rules: str) -> None:
        """Have rules before the test begins."""
        self.document = HEAD + "".join(rules) + "</LifecycleConfiguration>"

    @property
    def rules(self) -> dict[str, dict[str, str]]:
        """The rules by id, each as its leaves by path."""
        root = ET.fromstring(self.document or "<x/>")  # noqa: S314 - written by ourselves
        return {leaves.pop("ID"): leaves for leaves in map(_leaves, root)}

    async def answer(self, request: web.Request) -> web.Response:
        """Answer as S3 does."""
        assert "lifecycle" in request.query
        if self.refusal:
            return _error(*self.refusal)
        if request.method == "GET":
            if self.document is None:
                return _error(404, "NoSuchLifecycleConfiguration")
            return web.Response(text=self.document, content_type="application/xml")
        self.writes += 1
        if request.method == "DELETE":
            self.document = None
            return web.Response(status=204)
        assert request.method == "PUT"
        signed = {name.lower() for name in request.headers}
        assert "content-md5" in signed or any(name.startswith("x-amz-checksum") for name in signed)
        self.document = await request.text()
        root = ET.fromstring(self.document)  # noqa: S314 - sent by ourselves
        names = [rule.findtext(f"{NAMESPACE}ID") for rule in root]
        assert names, "S3 refuses a document without rules"
        assert len(set(names)) == len(names), "S3 refuses an id that comes twice"
        return web.Response()


def _leaves(element: ET.Element, above: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for child in element:
        name = above + child.tag.removeprefix(NAMESPACE)
        found |= _leaves(child, f"{name}.") if len(child) else {name: child.text or ""}
    return found


def _error(status: int, code: str) -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


@pytest.fixture
async def keeper() -> AsyncIterator[RuleKeeper]:
    kept = RuleKeeper()
    application = web.Application()
    application.router.add_route("*", "/bucket", kept.answer)
    async with TestServer(application) as server:
        kept.url = str(server.make_url("")).rstrip("/")
        yield kept


@pytest.fixture
async def rules(keeper: RuleKeeper) -> AsyncIterator[BucketRules]:
    async with AsyncExitStack() as stack:
        yield opened(stack, keeper)


def opened(stack: AsyncExitStack, keeper: RuleKeeper, prefix: str = "") -> BucketRules:
    made = BucketRules(S3Config("bucket", "us-east-1", keeper.url, "KEY", "SECRET", True, prefix))
    stack.push_async_callback(made.close)
    return made


def rule(source: str, days: int) -> dict[str, str]:
    return {
        "Filter.Prefix": f"{source}/",
        "Status": "Enabled",
        "Expiration.Days": str(days),
        "NoncurrentVersionExpiration.NoncurrentDays": "1",
    }


async def test_each_source_with_an_expiry_gets_its_rule_and_no_other(
    keeper: RuleKeeper, rules: BucketRules
) -> None:
    changed = await rules.expire({"mail": 31, "web": 8, "kept": None})
    assert changed == ["BackupExpiryFor-mail", "BackupExpiryFor-web"]
    assert keeper.rules == {
        "BackupExpiryFor-mail": rule("mail", 31),
        "BackupExpiryFor-web": rule("web", 8),
    }


async def test_rules_that_are_right_are_not_written_again(keeper: RuleKeeper, rules: BucketRules) -> None:
    keeper.give(ours("mail", 31))
    assert await rules.expire({"mail": 31, "kept": None}) == []
    await rules.expire({"mail": 31, "web": 8})
    assert keeper.writes == 1
    assert await rules.expire({"mail": 31, "web": 8}) == []
    assert keeper.writes == 1


@pytest.mark.parametrize("wrong", [ours("mail", 30), ours("mail", 31, prefix="other")])
async def test_a_rule_that_says_otherwise_is_replaced_and_those_of_others_stay(
    keeper: RuleKeeper, rules: BucketRules, wrong: str
) -> None:
    keeper.give(wrong, THEIRS, ours("unknown", 5))
    before = keeper.rules
    await rules.expire({"mail": 31})
    assert keeper.rules == {
        "theirs": before["theirs"],
        "BackupExpiryFor-unknown": before["BackupExpiryFor-unknown"],
        "BackupExpiryFor-mail": rule("mail", 31),
    }


async def test_a_source_that_keeps_its_streams_loses_a_rule_that_would_delete_them(
    keeper: RuleKeeper, rules: BucketRules
) -> None:
    """The reference writes such a rule, of one day, for every source without expiry."""
    keeper.give(ours("kept", 1), THEIRS)
    assert await rules.expire({"kept": None}) == ["BackupExpiryFor-kept"]
    assert set(keeper.rules) == {"theirs"}


async def test_cleaning_up_removes_our_rules_and_only_those(keeper: RuleKeeper, rules: BucketRules) -> None:
    keeper.give(ours("mail", 31), THEIRS)
    assert await rules.remove(["mail", "web"]) == ["BackupExpiryFor-mail"]
    assert set(keeper.rules) == {"theirs"}
    keeper.give(ours("mail", 31))
    await rules.remove(["mail", "web"])
    assert keeper.document is None
    assert await rules.remove(["mail"]) == []


async def test_installations_that_share_a_bucket_leave_each_others_rules_alone(keeper: RuleKeeper) -> None:
    async with AsyncExitStack() as stack:
        for prefix in ("one", "two"):
            await opened(stack, keeper, prefix).expire({"mail": 31})
    assert {leaves["Filter.Prefix"] for leaves in keeper.rules.values()} == {"one/mail/", "two/mail/"}


@pytest.mark.s3
async def test_a_server_without_rules_is_a_wrong_setting(s3_server: S3Server) -> None:
    login = (s3_server.access_key, s3_server.secret_key)
    rules = BucketRules(S3Config(s3_server.bucket, s3_server.region, s3_server.endpoint, *login, True))
    try:
        with pytest.raises(SettingError, match="age_off"):
            await rules.expire({"mail": 31})
    finally:
        await rules.close()


async def test_who_may_not_change_rules_is_told_so(
    keeper: RuleKeeper, rules: BucketRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CALL_BACKOFF_SECONDS", 0.001)
    keeper.refusal = (403, "AccessDenied")
    with pytest.raises(Unavailable, match="rights"):
        await rules.expire({"mail": 31})

"""From the keys of a configuration to the settings Headrace runs with (archive contract, section 14.2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from pipeline import settings as headrace
from pipeline.housekeeping import database, source, store
from pipeline.housekeeping.config import EVERYTHING, Config, Use
from pipeline.housekeeping.keys import KEYS
from pipeline.settings import Settings

_SAME: Final[Mapping[str, str]] = {
    "dedupe": "archive.dedupe",
    "archive-concurrency": "archive.concurrency",
    "archive-test-messages": "archive.test_messages",
    "retry-limit": "archive.retry_limit",
    "max-object-bytes": "archive.object_max_bytes",
    "liveness-file": "archive.liveness_file",
    "cluster": "archive.cluster",
    "topic-policy": "archive.policy",
    "topic-policy-url": "archive.policy_url",
    "topic-policy-file": "archive.policy_file",
    "text-index-message-size-limit": "archive.text_message_max_bytes",
    "text-index-size-limit": "archive.text_max_characters",
    "hop-topic-refresh-interval-seconds": "archive.refresh_seconds",
    "read-only": "archive.read_only",
    "cors-origins": "archive.cors_origins",
    "cors-origin-regex": "archive.cors_origin_regex",
    "external-url": "archive.external_url",
    "listen": "web.listen",
}
"""Keys that are one of our settings under another name; what is not given stays as Headrace has it."""

TOPICS_FILE: Final = "topics.log"
"""Record of the topics archived, in the working directory as upstream has it."""


async def settings_of(
    config: Config,
    *,
    scratch: Path,
    uses: Collection[Use] = EVERYTHING,
    test_run: bool = False,
    all_copies: bool = False,
) -> Settings:
    """Return the settings of a run or command over the parts a configuration chose.

    Args:
        config: The merged keys.
        scratch: Folder that is gone when the command ends; mocks live there.
        uses: What the command works with; of the rest nothing is looked up or asked for.
        test_run: Whether only the test topic is read. Otherwise it never is.
        all_copies: Whether the backup bucket belongs to the archive, whoever fills it.

    Raises:
        SettingError: Something is missing or wrong. NotFound, Unavailable: As AWS answers.
    """
    overrides: dict[str, Any] = {"objects": "memory:", "database": await database.url(config, scratch)}
    for key, name in _SAME.items():
        if config.given(key):
            section, _, leaf = name.partition(".")
            overrides.setdefault(section, {})[leaf] = _value(config, key)
    archive: dict[str, Any] = overrides.setdefault("archive", {})
    archive |= {"prefix": "", "source": "", **_topics(config, test_run=test_run)}
    if config.flag("protected") or config.flag("read-only"):
        archive["protected"] = True
    if "store" in uses:
        overrides["objects"] = store.url(config)
        copies = all_copies or config.text("store-backup-mode") == "copy"
        archive["backup"] = store.backup_url(config) if copies else ""
    if "policy" in uses:
        archive |= await source.policy_settings(config)
    if "source" in uses:
        archive |= await source.source_settings(config)
        archive["topics_file"] = TOPICS_FILE if config.text("hop-type") != "mock" else ""
    return headrace.load(overrides | _places(config, scratch)).settings


def _places(config: Config, scratch: Path) -> dict[str, Any]:
    """Say where what Headrace keeps on the side lies: its own log for parked messages, and no index."""
    kind = config.text("hop-type")
    if kind == "local":
        return {}
    data = scratch if kind == "mock" else headrace.load().settings.data_folder / "housekeeping"
    return {"data": str(data), "log": "embedded:", "index": "sqlite:"}


def _topics(config: Config, *, test_run: bool) -> dict[str, Any]:
    if test_run:
        return {"topics": [config.wanted("hop-test-topic")], "veto": []}
    # Test data is for test runs; names with two underscores are the broker's own.
    test_topic = config.text("hop-test-topic")
    return {
        "topics": ["*"],
        "veto": [*config.names("hop-vetoed-topics"), *filter(None, [test_topic]), "__*"],
    }


def _value(config: Config, key: str) -> Any:
    read = {"number": config.number, "flag": config.flag, "names": config.names}.get(KEYS[key].form)
    return read(key) if read else config.text(key)

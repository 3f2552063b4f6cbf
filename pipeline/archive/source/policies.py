"""The topic policy the settings name."""

from __future__ import annotations

from pathlib import Path

from pipeline.archive.source.policy import AllTopics, TopicPolicy
from pipeline.clock import Clock, SystemClock
from pipeline.errors import SettingError
from pipeline.settings import Settings


def make_policy(settings: Settings, clock: Clock | None = None) -> TopicPolicy:
    """Make the policy; nothing is read or asked yet, and until then it knows no topic (but for `all`).

    Raises:
        SettingError: What the chosen policy needs is not set.
    """
    chosen = settings.archive
    clock = clock or SystemClock()
    if chosen.policy == "all":
        return AllTopics()
    if chosen.policy == "file":
        from pipeline.archive.source.policy_file import FilePolicy

        path = _needed("policy_file", chosen.policy_file, "file")
        return FilePolicy(Path(path).expanduser(), clock, chosen.refresh_seconds)
    from pipeline.archive.source.policy_http import HttpPolicy

    return HttpPolicy(
        _needed("policy_url", chosen.policy_url, "http"),
        clock,
        chosen.refresh_seconds,
        username=chosen.policy_username,
        password=chosen.policy_password.get_secret_value(),
        token=chosen.policy_token.get_secret_value(),
    )


def _needed(name: str, value: str, policy: str) -> str:
    if not value:
        raise SettingError(f"setting archive.{name}", f'archive.policy = "{policy}" needs it')
    return value

"""What a plugin is: who it is, what it wants to see, what it may find, and the function that does the work.

Contradictions are refused when it is made, not when it runs. Contract: dispatcher sections 4.4, 10, 26.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from headrace.features import declared
from headrace.hub import Subscription
from pipeline import limits
from pipeline.errors import SettingError
from pipeline.events import times
from pipeline.events.names import (
    ACTIONS,
    ACTIONS_WITH_CONTENT,
    CONTENT,
    CURRENT,
    EXTRACTED,
    LABELS,
    SOURCED,
)
from pipeline.events.parts import Author
from pipeline.events.plugin import PluginEntity, PluginEvent, PluginFeature

if TYPE_CHECKING:
    from headrace.job import Job

Function: TypeAlias = "Callable[[Job], Awaitable[None] | None]"
F = TypeVar("F", bound=Function)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


class Plugin:
    """A plugin.

    Args:
        name: Letters, digits, ``. _ -``; with the version it names the plugin's place in the stream.
        version: The same letters. A new version is handed everything there ever was again.
        description: What it does, for people.
        contact: Who answers for it.
        security: Marking of what it says.
        actions: What must have happened to a file: of `sourced`, `extracted`, `augmented`, `mapped`,
            `enriched`.
        formats: Beginnings of the file formats it wants, such as ``"executable/"``; none: all. A file
            whose event names no format (those of `headrace scan`) is not handed out then.
        streams: Labels of the streams it reads. None: it works on the event alone.
        features: What it may find: a type, or `feature(…)`, by name.
        sources: Only files of these sources; none: all.
        content_max_bytes: Larger files are not handed out.
        own_results: Whether it is handed what it found itself.
        historic: Whether it is handed what there was before it came.
        max_security: The highest marking it may see; empty: any.
        timeout_seconds: How long the function may work on one file.

    Raises:
        SettingError: One of them is not allowed, or two contradict each other.
    """

    def __init__(
        self,
        name: str,
        version: str,
        *,
        description: str = "",
        contact: str = "",
        security: str = "",
        actions: Sequence[str] = (SOURCED, EXTRACTED),
        formats: Sequence[str] = (),
        streams: Sequence[str] = (CONTENT,),
        features: Mapping[str, str | PluginFeature] | None = None,
        sources: Sequence[str] = (),
        content_max_bytes: int = limits.PLUGIN_CONTENT_MAX_BYTES,
        own_results: bool = False,
        historic: bool = True,
        max_security: str = "",
        timeout_seconds: float = limits.PLUGIN_JOB_SECONDS,
    ) -> None:
        _check(name, version, actions, formats, streams)
        self.author = Author(name=name, version=version, category="plugin", security=security)
        self.features = declared(name, features or {})
        self.streams = tuple(streams)
        self.timeout_seconds = timeout_seconds
        self._description = description
        self._contact = contact
        self._function: Function | None = None
        self.subscription = Subscription(
            name=name,
            version=version,
            actions=tuple(actions),
            sources=tuple(sources),
            streams=_wanted_streams(formats, streams),
            content_max_bytes=content_max_bytes if CONTENT in streams else 0,
            own_results=own_results,
            historic=historic,
            max_security=max_security,
        )

    def __str__(self) -> str:
        return f"{self.author.name} {self.author.version}"

    def run(self, function: F) -> F:
        """Decorate the function that does the work.

        It gets a `Job` and says there what it finds. A plain function runs in a thread of its own, with
        several jobs at once in several; an ``async`` one on the event loop, which it must not block.
        """
        self._function = function
        return function

    @property
    def function(self) -> Function:
        """The function that does the work.

        Raises:
            SettingError: There is none.
        """
        if self._function is None:
            raise SettingError(f"run plugin {self}", "it has no function", "decorate one with @plugin.run")
        return self._function

    def registration(self, now: dt.datetime) -> PluginEvent:
        """Make the event that makes the plugin known."""
        author = self.author
        return PluginEvent(
            model_version=CURRENT,
            timestamp=times.text_of(now),
            author=author,
            entity=PluginEntity(
                name=author.name,
                version=author.version,
                category=author.category,
                contact=self._contact,
                description=self._description,
                features=tuple(self.features.values()),
                security=author.security,
            ),
        )

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Run it as a program: ``--api URL``, ``--concurrency N``, ``--once``; ends the process."""
        from headrace.process import main

        main(self, arguments)


def _wanted_streams(formats: Sequence[str], streams: Sequence[str]) -> tuple[str, ...]:
    """Say in the contract's words which streams an event must have; nothing when any content will do."""
    if not formats and set(streams) <= {CONTENT}:
        return ()
    return tuple(",".join((label, *formats)) if label == CONTENT else label for label in streams)


def _check(
    name: str, version: str, actions: Sequence[str], formats: Sequence[str], streams: Sequence[str]
) -> None:
    tried = f"make plugin {name} {version}"
    for text in (name, version):
        if not _NAME.fullmatch(text):
            raise SettingError(tried, f"{text!r} is not made of letters, digits and . _ -")
    for what, given, known in (("action", actions, ACTIONS), ("stream", streams, LABELS)):
        if isinstance(given, str) or not set(given) <= set(known):
            raise SettingError(tried, f"{given!r} is not a list of {what}s", f"they are {sorted(known)}")
    if not actions:
        raise SettingError(tried, "it wants no action, so it would never be handed anything")
    if isinstance(formats, str) or any("," in each for each in formats):
        raise SettingError(tried, f"{formats!r} is not a list of file formats")
    if formats and CONTENT not in streams:
        raise SettingError(tried, "formats are those of the content, which it does not read")
    if streams and (without := set(actions) - ACTIONS_WITH_CONTENT):
        why = f"events of action {' and '.join(sorted(without))} have no content to read"
        raise SettingError(tried, why, "give streams=() to work on the event alone")

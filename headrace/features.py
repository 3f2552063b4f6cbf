"""Features: what a plugin declares it may find, and values as the text that events hold.

Guarantees that nothing leaves under a name that was not declared, nor with a value that is not of the
declared type. Contract: dispatcher sections 4.1 (Feature), 4.4 (PluginFeature).
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Final

from pipeline import limits
from pipeline.errors import BadInput, SettingError, TooLarge
from pipeline.events.names import FEATURE_TYPES
from pipeline.events.parts import Feature
from pipeline.events.plugin import PluginFeature


def feature(kind: str, description: str = "", *, tags: tuple[str, ...] = ()) -> PluginFeature:
    """Describe a feature for `Plugin(features=…)`; the name is the key there.

    Args:
        kind: `integer`, `float`, `string`, `binary`, `datetime`, `filepath` or `uri`.
        description: What it means, for people.
        tags: Words it is grouped by.
    """
    return PluginFeature(type=kind, desc=description, tags=tags)


def declared(plugin: str, features: Mapping[str, str | PluginFeature]) -> dict[str, PluginFeature]:
    """Give what a plugin declares, by name.

    Raises:
        SettingError: A name is empty, or a type is none.
    """
    found: dict[str, PluginFeature] = {}
    for name, said in features.items():
        what = said if isinstance(said, PluginFeature) else feature(said)
        if not name or what.type not in FEATURE_TYPES:
            known = ", ".join(sorted(FEATURE_TYPES))
            raise SettingError(
                f"feature {name!r} of plugin {plugin}",
                f"{what.type!r} is no type",
                f"the types are {known}",
            )
        found[name] = PluginFeature(name=name, type=what.type, desc=what.desc, tags=what.tags)
    return found


class Features:
    """What was found out about one file; the same thing found twice is kept once.

    Args:
        kinds: What the plugin declared.
    """

    def __init__(self, kinds: Mapping[str, PluginFeature]) -> None:
        self._kinds = kinds
        self._found: dict[tuple[Any, ...], Feature] = {}

    def add(self, name: str, value: Any, *, label: str = "", offset: int = 0, size: int = 0) -> None:
        """Keep one value.

        Raises:
            BadInput: The name is not declared, or the value is not of its type.
            TooLarge: There are more than `limits.FEATURES_PER_EVENT`.
        """
        tried = f"keep feature {name!r}"
        kind = self._kinds.get(name)
        if kind is None:
            known = ", ".join(self._kinds) or "none"
            raise BadInput(tried, f"the plugin declares {known}", "name it in Plugin(features=…)")
        if len(self._found) >= limits.FEATURES_PER_EVENT:
            raise TooLarge(tried, f"there are {limits.FEATURES_PER_EVENT} already", "keep fewer")
        if offset < 0 or size < 0:
            raise BadInput(tried, f"offset {offset} or size {size} is negative")
        text = _text(tried, kind.type, value)
        found = Feature(name=name, value=text, type=kind.type, label=label, offset=offset, size=size)
        self._found.setdefault((name, text, label, offset, size), found)

    def all(self) -> tuple[Feature, ...]:
        """Give them in the order they were found."""
        return tuple(self._found.values())


def _text(tried: str, kind: str, value: Any) -> str:
    allowed, write = _WRITERS[kind]
    if not isinstance(value, allowed) or isinstance(value, bool):
        raise BadInput(tried, f"{value!r:.100} is no {kind}")
    text = write(value)
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        raise BadInput(tried, f"{text} has no time zone", "give it one: .replace(tzinfo=datetime.UTC)")
    return checked_text(tried, text)


def checked_text(tried: str, text: str) -> str:
    """Return text that can be written as UTF-8.

    Raises:
        BadInput: It holds half characters, as file names that are no UTF-8 do.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(tried, str(error), "os.fsencode(text).decode(errors='backslashreplace')") from None
    return text


_WRITERS: Final[dict[str, tuple[type | tuple[type, ...], Callable[[Any], str]]]] = {
    "integer": (int, str),
    "float": ((int, float), lambda value: repr(float(value))),
    "string": (str, str),
    "binary": (bytes, lambda value: base64.b64encode(value).decode()),
    "datetime": (dt.datetime, lambda value: value.isoformat()),
    "filepath": ((str, PurePath), str),
    "uri": (str, str),
}

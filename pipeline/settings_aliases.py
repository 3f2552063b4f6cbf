"""Settings under the names the dispatcher gives them: ``DP__A__B`` or ``DP.A.B``, and ``BED__A``.

`layers` turns those of an environment into layers of our settings, each with the variable it came from, and
says of the others why they mean nothing here. The part after the prefix is read in any case; of one name
spelled both ways, ``__`` counts. To accept one more name, add its line to `ALIASES`;
docs/dispatcher-settings.md lists them all and a test compares. Contract: dispatcher section 19.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from pipeline.errors import SettingError
from pipeline.flags import FALSE, TRUE
from pipeline.settings_unused import UNUSED

_MINUTE_SECONDS = 60
_LEVELS: Final = {
    "TRACE": "DEBUG", "DEBUG": "DEBUG", "INFO": "INFO",
    "WARN": "WARNING", "WARNING": "WARNING", "ERROR": "ERROR",
}  # fmt: skip


def _flag(text: str) -> bool:
    if text not in {*TRUE, *FALSE}:
        raise ValueError("allowed: true, false")
    return text in TRUE


def _if_true(value: str) -> Callable[[str], str | None]:
    return lambda text: value if _flag(text) else None


def _xor(text: str) -> str:
    """The dispatcher reads what is XORed in any case."""
    return "enabled" if _flag(text) else "readonly"


def _aes(text: str) -> str:
    return text if text in {"enabled", "readonly"} else "off"


def _address(text: str) -> str:
    """Turn ``:8111``, which means every address of the machine, into host and port."""
    return f"0.0.0.0{text}" if text.startswith(":") else text  # noqa: S104 - it is what was asked for


def _level(text: str) -> str:
    if text.upper() not in _LEVELS:
        raise ValueError(f"allowed: {', '.join(_LEVELS)}")
    return _LEVELS[text.upper()]


def _minutes(text: str) -> float:
    return float(text) * _MINUTE_SECONDS


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _sources(text: str) -> Any:
    from pipeline.events.settings_text import load_yaml

    match load_yaml("events.sources", text):
        case {"sources": dict(definitions), **more} if not more:
            return definitions
        case _:
            raise ValueError("put everything under one key, sources:")


def _topics(text: str) -> Any:
    from pipeline.events.settings_text import load_yaml

    match load_yaml("events.topics", text):
        case list(entries):
            return entries
        case _:
            raise ValueError("it is to be a list of topics")


class Alias(NamedTuple):
    """Our setting by its dotted name, and how the text given becomes its value; None says nothing."""

    setting: str
    translate: Callable[[str], Any] = str


ALIASES: Final[Mapping[str, Alias]] = {
    "DP__LISTEN_ADDR": Alias("web.listen", _address),
    "DP__STREAMS__API_ALLOW_DELETE": Alias("hub.allow_delete", _flag),
    "DP__STREAMS__XOR_ENCODING": Alias("streams.xor", _xor),
    "DP__STREAMS__AES_ENABLED": Alias("streams.aes", _aes),
    "DP__STREAMS__AES_KEY": Alias("streams.aes_key"),
    "DP__STREAMS__CACHE__SIZE_BYTES": Alias("streams.cache_bytes"),
    "DP__STREAMS__CACHE__TTL_SECONDS": Alias("streams.cache_seconds"),
    "DP__STREAMS__S3__ENABLE_AUTOMATIC_AGEOFF": Alias("streams.age_off", _if_true("on")),
    "DP__STREAMS__S3__ENABLE_AUTOMATIC_AGEOFF_CLEANUP": Alias("streams.age_off", _if_true("cleanup")),
    "DP__EVENTS__API_EVENT_FETCH_LIMIT": Alias("hub.fetch_limit"),
    "DP__EVENTS__API_DEFAULT_EVENT_WAIT": Alias("hub.default_wait_seconds"),
    "DP__EVENTS__DEDUPE_CACHE_BYTES": Alias("hub.dedupe_bytes"),
    "DP__EVENTS__REPLAY_PLUGIN_CACHE__SIZE_BYTES": Alias("hub.replay_bytes"),
    "DP__EVENTS__REPLAY_PLUGIN_CACHE__MIN_RUNTIME_SECONDS": Alias("hub.replay_min_runtime_seconds"),
    "DP__EVENTS__REPLAY_PLUGIN_CACHE__TTL_SECONDS": Alias("hub.replay_seconds"),
    "DP__EVENTS__KAFKA__ENDPOINT": Alias("log", "kafka://{}".format),
    "DP__EVENTS__KAFKA__TOPIC_PREFIX": Alias("events.prefix"),
    "DP__EVENTS__IGNORE_TOPIC_MISMATCH": Alias("events.ignore_topic_mismatch", _flag),
    "DP__EVENTS__GLOBAL_PARTITION_COUNT": Alias("events.partitions"),
    "DP__EVENTS__GLOBAL_REPLICA_COUNT": Alias("events.replicas"),
    "DP__EVENTS__SOURCES": Alias("events.sources", _sources),
    "DP__EVENTS__TOPICS": Alias("events.topics", _topics),
    "DP__EVENTS__LOST_TASKS_AFTER_MINUTES": Alias("tasks.lapse_seconds", _minutes),
    "DP__EVENTS__LOST_TASKS_CHECK_MINUTES": Alias("tasks.scan_interval_seconds", _minutes),
    "DP__EVENTS__REPROCESS__PREVIOUS_PREFIX": Alias("reprocess.from_prefix"),
    "DP__EVENTS__REPROCESS__UPGRADE_SOURCES": Alias("reprocess.sources", _flag),
    "DP__EVENTS__REPROCESS__UPGRADE_SYSTEM": Alias("reprocess.system", _flag),
    "DP__EVENTS__REPROCESS__INCLUDE_SYSTEM": Alias("reprocess.include_system", _names),
    "DP__EVENTS__REPROCESS__DENY_TOPICS": Alias("reprocess.deny_topics", _names),
    "DP__EVENTS__REPROCESS__LEGACY_JSON": Alias("reprocess.legacy_json", _flag),
    "BED__LOG_LEVEL": Alias("logging.level", _level),
    "BED__LOG_PRETTY": Alias("logging.format", lambda text: "console" if _flag(text) else "json"),
}
"""Names that are one of our settings under another name."""

_BACKEND = "DP__STREAMS__BACKEND"
_PATH = "DP__STREAMS__LOCAL__PATH"
_S3 = "DP__STREAMS__S3__"
OBJECTS: Final = (
    _BACKEND,
    _PATH,
    *(f"{_S3}{name}" for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "REGION", "SECURE", "BUCKET")),
)
"""Names that together are our setting `objects`."""

_SEPARATORS: Final = {"DP__": "__", "DP.": ".", "BED__": "__"}


class Layer(NamedTuple):
    """Settings, nested like the file, and where they came from."""

    origin: str
    values: dict[str, Any]


class Aliased(NamedTuple):
    """What an environment says under the dispatcher's names: settings, and a line for each other name."""

    layers: list[Layer]
    warnings: list[str]


class _Given(NamedTuple):
    variable: str
    text: str


def layers(environment: Mapping[str, str]) -> Aliased:
    """Translate the variables of an environment; empty ones count as not given.

    Raises:
        SettingError: One has a value that cannot be translated.
    """
    given = _given(environment)
    found: list[Layer] = []
    warnings: list[str] = []
    # Of two names for one setting the shorter counts.
    for name, (variable, text) in sorted(given.items(), reverse=True):
        if name in ALIASES:
            setting, translate = ALIASES[name]
            value = _translated(variable, text, translate)
            if value is not None:
                found.append(Layer(f"environment {variable}", _nested(setting, value)))
        elif name not in OBJECTS:
            warnings.append(f"environment {variable} has no effect: {_why_unused(name)}")
    used = {name: given[name] for name in OBJECTS if name in given}
    if list(used) == [_PATH]:
        warnings.append(f"environment {used[_PATH].variable} has no effect: it goes with {_BACKEND}=local")
    elif used:
        url = _objects_url({name: one.text for name, one in used.items()})
        found.append(
            Layer("environment " + ", ".join(one.variable for one in used.values()), {"objects": url})
        )
    return Aliased(found, warnings)


def _given(environment: Mapping[str, str]) -> dict[str, _Given]:
    """Return what is given by its name as the contract spells it."""
    found: dict[str, _Given] = {}
    for prefix in ("DP.", "DP__", "BED__"):  # the later one wins
        separator = _SEPARATORS[prefix]
        for variable, text in environment.items():
            if variable.startswith(prefix) and text:
                rest = "__".join(variable.removeprefix(prefix).upper().split(separator))
                found[prefix.rstrip("._") + "__" + rest] = _Given(variable, text)
    return found


def _why_unused(name: str) -> str:
    for pattern, why in UNUSED.items():
        if re.fullmatch(pattern, name):
            return why
    return "there is no such setting"


def _translated(variable: str, text: str, translate: Callable[[str], Any]) -> Any:
    try:
        return translate(text)
    except (ValueError, SettingError) as error:
        why = error.why if isinstance(error, SettingError) else str(error)
        shown = text if len(text) <= len(variable) * 2 else f"{len(text)} characters"
        raise SettingError(
            f"environment {variable} = {shown!r}", why, "docs/dispatcher-settings.md lists these names"
        ) from error


def _nested(setting: str, value: Any) -> dict[str, Any]:
    for name in reversed(setting.split(".")):
        value = {name: value}
    nested: dict[str, Any] = value
    return nested


def _objects_url(given: Mapping[str, str]) -> str:
    """Spell the storage the dispatcher's settings describe as the URL of ours."""
    backend = given.get(_BACKEND, "s3")
    if backend == "local":
        return f"folder://{quote(str(Path(given.get(_PATH, '/tmp/store')).absolute()))}"  # noqa: S108
    if backend != "s3":
        why = "objects are kept in a folder (local) or on an S3 server (s3)"
        raise SettingError(f"environment {_BACKEND} = {backend!r}", why)
    endpoint, region, secure, bucket = (
        given.get(_S3 + name, default)
        for name, default in (("ENDPOINT", ""), ("REGION", ""), ("SECURE", "false"), ("BUCKET", "azul"))
    )
    options = f"?region={quote(region, safe='')}" if region else ""
    if not endpoint:
        return f"s3://{bucket}{options}"
    scheme = "https" if _translated(f"{_S3}SECURE", secure, _flag) else "http"
    login = ":".join(quote(given.get(_S3 + name, ""), safe="") for name in ("ACCESS_KEY", "SECRET_KEY"))
    return f"s3+{scheme}://{login + '@' if login != ':' else ''}{endpoint}/{bucket}{options}"

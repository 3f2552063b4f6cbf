"""The configuration of one command: stanzas, flat file, options and environment merged into one set.

Later ones win: defaults; the stanzas chosen; options; the environment's ``SCIMMA_ARCH_A_B`` for ``a-b``.
Where no stanza was chosen, the second generation's flat file and then its names in the environment come
before the options. Guarantees that each value has the form of its key and that a name nobody knows is
refused. Contract: archive sections 14.1 and 14.2.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

from pipeline.errors import SettingError
from pipeline.housekeeping import stanzas
from pipeline.housekeeping.keys import ANYWHERE, FLAT, KEYS, SERVERS, Key, Kind, Value
from pipeline.housekeeping.stanzas import StanzaFile

PREFIX: Final = "SCIMMA_ARCH_"
REGION: Final = "us-west-2"
"""AWS region where nothing names one."""
DEFAULT_STANZAS: Final[Mapping[Kind, str]] = {
    "log": "log",
    "database": "mock-db",
    "source": "mock-hop",
    "store": "mock-store",
}
Use = Literal["store", "policy", "source"]
"""What a command works with beside the database."""
EVERYTHING: Final[tuple[Use, ...]] = ("store", "policy", "source")
STORE: Final[tuple[Use, ...]] = ("store",)
_POLICY_SERVER: Final = "hopauth-api-url"
_POLICY_TOPICS: Final = "/v1/topics"
_TRUE: Final = {"true", "yes", "on", "1"}
_FALSE: Final = {"false", "no", "off", "0"}
_LEVELS: Final = {"DEBUG": "DEBUG", "INFO": "INFO", "WARN": "WARNING", "WARNING": "WARNING"} | {
    "ERROR": "ERROR",
    "CRITICAL": "ERROR",
}


class Choice(NamedTuple):
    """What a command line chose: stanzas by kind, None for the usual one, and where to look.

    `options` are the second generation's, by its names; `defaults` are the usual stanzas of the command
    where they are not `DEFAULT_STANZAS`.
    """

    file: Path | None = None
    flat_file: Path | None = None
    log: str | None = None
    database: str | None = None
    source: str | None = None
    store: str | None = None
    options: Mapping[str, Any] = {}
    defaults: Mapping[Kind, str] = {}


class Config:
    """The merged keys. A key that was given nowhere has its default."""

    def __init__(self, given: Mapping[str, Value], environment: Mapping[str, str]) -> None:
        self._given = given
        self.environment = environment

    def given(self, name: str) -> bool:
        """Say whether the key was given anywhere."""
        return name in self._given

    def text(self, name: str) -> str:
        """Give the text of a key, empty when it has none."""
        value = self._value(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """Give the number of a key."""
        value = self._value(name)
        return value if isinstance(value, int) else 0

    def flag(self, name: str) -> bool:
        """Say whether a key is true."""
        return self._value(name) is True

    def names(self, name: str) -> tuple[str, ...]:
        """Give the names of a key."""
        value = self._value(name)
        return value if isinstance(value, tuple) else ()

    def wanted(self, name: str) -> str:
        """Give the text of a key that must have one.

        Raises:
            SettingError: It has none.
        """
        text = self.text(name)
        if not text:
            raise SettingError(f"setting {name}", "it is needed here and was not given")
        return text

    def region(self, name: str) -> str:
        """Give the AWS region of a key, else the one that holds everywhere."""
        return self.text(name) or str(self._given.get("region", REGION))

    def _value(self, name: str) -> Value:
        return self._given.get(name, KEYS[name].default)


def load(choice: Choice, environment: Mapping[str, str] = os.environ) -> Config:
    """Merge what was chosen.

    Raises:
        SettingError: A file cannot be read, a stanza or key is unknown, a value has the wrong form.
    """
    file = stanzas.stanza_file(choice.file)
    flat = _flat(file.flat, str(file.path), environment)
    if choice.flat_file is not None:
        named = stanzas.read(choice.flat_file.expanduser())
        flat |= _flat(named.content, str(named.path), {})
    given: dict[str, Value] = {}
    for kind in get_args(Kind):
        given |= _of_kind(kind, choice, file, flat)
    options = _options(choice.options)
    _mean_servers(given, {**flat, **options}, choice)
    given |= options
    return Config(given | _overriding(environment), environment)


def _of_kind(kind: Kind, choice: Choice, file: StanzaFile, flat: Mapping[str, Value]) -> dict[str, Value]:
    """Give the keys of one kind: of the stanza chosen, else of the usual one and of the flat names."""
    if kind == "api":
        chosen, name = None, "api"
    else:
        chosen = getattr(choice, kind)
        name = chosen or choice.defaults.get(kind, DEFAULT_STANZAS[kind])
    if chosen is None and name not in file.stanzas:
        file = stanzas.read(stanzas.SHIPPED_FILE)
        if name not in file.stanzas:  # the shipped file has no api
            return _kept(flat, kind)
    keys = _stanza(file, name, kind)
    return keys if chosen else {**keys, **_kept(flat, kind)}


def _kept(flat: Mapping[str, Value], kind: Kind) -> dict[str, Value]:
    return {name: value for name, value in flat.items() if KEYS[name].kind == kind}


def _stanza(file: StanzaFile, name: str, kind: Kind) -> dict[str, Value]:
    origin = f"{file.path}, stanza {name}"
    known = {key.name: key for key in KEYS.values() if key.kind == kind}
    found: dict[str, Value] = {}
    for spelled, value in file.stanza(name).items():
        key = spelled.replace("_", "-")
        if key in ANYWHERE:
            found |= _anywhere(key, value, f"{origin}: {spelled}")
        elif key in known:
            found[key] = formed(known[key], value, f"{origin}: {spelled}")
        else:
            raise _unknown(f"{origin}: {spelled}", f"a {kind} stanza has no such key", known)
    return found


def _anywhere(name: str, value: Any, origin: str) -> dict[str, Value]:
    if name == "loglevel":
        return {"level": formed(KEYS["level"], value, origin)}
    return {name: str(value)}


def _flat(content: Mapping[str, Any], origin: str, environment: Mapping[str, str]) -> dict[str, Value]:
    """Give the keys of a flat file, and of the environment under the second generation's names."""
    found: dict[str, Value] = {}
    for spelled, value in content.items():
        name = spelled.replace("_", "-")
        if name in FLAT:
            found |= _flat_key(name, value, f"{origin}: {spelled}")
        elif name in KEYS:
            found[name] = formed(KEYS[name], value, f"{origin}: {spelled}")
        else:
            raise _unknown(f"{origin}: {spelled}", "there is no such key", [*FLAT, *KEYS])
    for name, key in FLAT.items():
        variable = name.upper().replace("-", "_")
        if key.environment and environment.get(variable):
            found |= _flat_key(name, environment[variable], f"environment {variable}")
    return found


def _options(options: Mapping[str, Any]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in options.items():
        found |= _flat_key(name, value, f"option --{name}")
    return found


def _flat_key(name: str, value: Any, origin: str) -> dict[str, Value]:
    key = FLAT[name]
    found = formed(key, value, origin)
    if name == _POLICY_SERVER:  # the second generation names the server, we what is asked there
        found = f"{str(found).rstrip('/')}{_POLICY_TOPICS}"
    return {key.name: found}


def _overriding(environment: Mapping[str, str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower().replace("_", "-")
        if name in ANYWHERE:
            found |= _anywhere(name, text, f"environment {variable}")
            continue
        by_name = {key.lower(): key for key in KEYS}
        if name not in by_name:
            raise _unknown(f"environment {variable}", "there is no such key", KEYS)
        found[by_name[name]] = formed(KEYS[by_name[name]], text, f"environment {variable}")
    return found


def _mean_servers(given: dict[str, Value], flat: Mapping[str, Value], choice: Choice) -> None:
    """Take who names a server without its type, and no stanza, to mean that server and not the mock."""
    for kind, (type_key, meant, server) in SERVERS.items():
        if getattr(choice, kind) is None and server in flat and type_key not in flat:
            given[type_key] = meant


def formed(key: Key, value: Any, origin: str) -> Value:
    """Return a value in the form of its key; text is read as the environment has it.

    Raises:
        SettingError: It has another form, or is not among what is allowed.
    """
    try:
        found = _level(value) if key.name == "level" else _FORMS[key.form](value)
    except ValueError as error:
        raise SettingError(f"{origin} = {value!r}", str(error)) from None
    if key.allowed and found not in key.allowed:
        allowed = ", ".join(filter(None, key.allowed))
        raise SettingError(f"{origin} = {value!r}", f"allowed: {allowed}")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text is wanted")  # noqa: TRY004 - formed() turns it into a SettingError
    return value


def _number(value: Any) -> int:
    try:
        number = int(_text(value)) if not isinstance(value, int) or isinstance(value, bool) else value
    except ValueError:
        raise ValueError("a whole number is wanted") from None
    if number < 0:
        raise ValueError("it is negative")
    return number


def _flag(value: Any) -> bool:
    text = str(value).lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("allowed: true, false, yes, no, on, off, 1, 0")
    return text in _TRUE


def _text_or_flag(value: Any) -> str | bool:
    return _flag(value) if str(value).lower() in _TRUE | _FALSE else _text(value)


def _names(value: Any) -> tuple[str, ...]:
    each = value if isinstance(value, list | tuple) else [value]
    return tuple(name for text in each for name in _text(text).split())


def _level(value: Any) -> str:
    if _text(value).upper() not in _LEVELS:
        raise ValueError(f"allowed: {', '.join(_LEVELS)}")
    return _LEVELS[value.upper()]


_FORMS: Final[Mapping[str, Callable[[Any], Value]]] = {
    "text": _text,
    "number": _number,
    "flag": _flag,
    "names": _names,
    "text or flag": _text_or_flag,
}


def _unknown(what: str, why: str, known: Iterable[str]) -> SettingError:
    return SettingError(what, why, f"known keys: {', '.join(sorted(known))}; passwords have none")

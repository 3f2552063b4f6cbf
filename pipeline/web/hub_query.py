"""What a fetch asks for, read from its query. Contract: dispatcher sections 2, 3 and 10.

The names that older clients know are read beside today's; one thing asked for under both names with
different values is refused. Parameters nobody knows are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from aiohttp import web
from multidict import MultiMapping

from pipeline import limits
from pipeline.errors import NotFound, QueryError
from pipeline.events.models import Model, model_named
from pipeline.events.names import ACTIONS, EXTRACTED, SOURCED
from pipeline.flags import FALSE, TRUE
from pipeline.hub.expression import Expression
from pipeline.hub.wanted import Wanted
from pipeline.web.hub_problems import Refused

OLD_NAMES: Final = {
    "deadline": "timeout",
    "r-content": "requires-data",
    "r-under-content-size": "f-max-content-size",
    "r-over-content-size": "f-min-content-size",
    "r-action": "f-allow-event-type",
    "d-action": "f-deny-event-type",
    "d-self": "f-self",
    "r-streams": "f-data-type",
}
"""Today's name to the old one, where both mean the same."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_INTEGER_MAX = 2**63 - 1
_TITLE = "bad parameters"
T = TypeVar("T")


def wanted_of(
    request: web.Request, model: str, *, task: bool, fetch_limit: int, wait_seconds: int
) -> Wanted:
    """Read what a fetch asks for.

    Args:
        request: The fetch.
        model: The model in its path.
        task: It came by the active route.
        fetch_limit: Most events it gets.
        wait_seconds: Its deadline when it names none.

    Raises:
        Refused: A parameter is wrong, or parameters do not go together (422).
    """
    query = _Query(request.query)
    known = _model(model)
    under, over = _sizes(query)
    content, required, denied = _content(query)
    expedite, live, historic = _flow(query, known)
    query.flag("is-task")  # the route decides; only its spelling is checked
    wanted = Wanted(
        name=query.text("name"),
        version=query.text("version"),
        model=known,
        user_agent=request.headers.get("User-Agent", "").encode(errors="replace").decode(),
        avro=query.flag("avro-format"),
        debug=query.flag("debug"),
        reset=query.flag("reset"),
        deployment_key=query.text("deployment_key"),
        count=min(max(query.integer("count", 1), 1), fetch_limit),
        deadline=min(max(query.integer("deadline", wait_seconds), 0), limits.HUB_WAIT_MAX_SECONDS),
        is_task=task,
        require_sources=query.list("r-source"),
        require_events=required,
        require_content=content,
        require_streams_map=_streams(query.list("r-streams")),
        require_under_content_size=under,
        require_over_content_size=over,
        require_expedite=expedite,
        require_live=live,
        require_historic=historic,
        deny_events=denied,
        deny_self=query.flag("d-self"),
        max_security=query.text("max-security"),
        filter=_expression(query.text("filter")),
    )
    # As JSON: that is how it goes into the records of tasks, several times beside the event.
    if len(msgspec.json.encode(wanted.consumer.key)) > limits.CONSUMER_KEY_MAX_BYTES:
        why = f"with version, r-source and r-action it is longer than {limits.CONSUMER_KEY_MAX_BYTES} bytes"
        raise bad("name", why)
    return wanted


def bad(name: str, reason: str) -> Refused:
    """Make the refusal of one parameter."""
    return Refused(422, _TITLE, f"bad parameter for {name}: {reason}")


class _Query:
    """Parameters by today's names, read under either name. An empty value is as if it was not there."""

    def __init__(self, given: MultiMapping[str]) -> None:
        self._given = given

    def text(self, name: str) -> str:
        return self._given.get(name, "")

    def flag(self, name: str) -> bool:
        return self.flag_or_none(name) or False

    def flag_or_none(self, name: str) -> bool | None:
        return self._scalar(name, _boolean)

    def integer(self, name: str, default: int) -> int:
        value = self._scalar(name, _whole)
        return default if value is None else value

    def list(self, name: str) -> tuple[str, ...]:
        return _one({written: self._all(written) for written in _names(name)}) or ()

    def actions(self, name: str) -> tuple[str, ...]:
        """Give a list of actions; under the old name one value may hold several, with commas."""
        old = OLD_NAMES[name]
        split = [action for value in self._all(old) for action in value.split(",") if action]
        # Clients know what is wrong with d-action under the name of r-action.
        return _one({name: _actions("r-action", self._all(name)), old: _actions(old, split)}) or ()

    def _all(self, name: str) -> tuple[str, ...]:
        return tuple(value for value in self._given.getall(name, ()) if value)

    def _scalar(self, name: str, read: Callable[[str, str], T]) -> T | None:
        """Read the first occurrence; later ones do not count."""
        texts = {written: self._given.get(written, "") for written in _names(name)}
        return _one({written: read(written, text) for written, text in texts.items() if text})


def _names(name: str) -> list[str]:
    return [name, OLD_NAMES[name]] if name in OLD_NAMES else [name]


def _one(given: Mapping[str, T]) -> T | None:
    """Give the value that all names agree on; an empty list does not count.

    Raises:
        Refused: They disagree.
    """
    said = {name: value for name, value in given.items() if value != ()}
    if len(set(said.values())) > 1:
        raise _both(*said)
    return next(iter(said.values()), None)


def _both(today: str, old: str) -> Refused:
    return bad(today, f"{old}, an old name for it, is given too and says something else")


def _boolean(name: str, text: str) -> bool:
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise bad(name, f"{text!r} is neither true nor false")


def _whole(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text) or abs(int(text)) > _INTEGER_MAX:
        raise bad(name, f"{text!r} is not a whole number")
    return int(text)


def _actions(name: str, values: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        if value not in ACTIONS:
            raise bad(name, f"unknown action {value!r}; there are {', '.join(ACTIONS)}")
    return tuple(values)


def _model(name: str) -> Model:
    try:
        return model_named(name)
    except NotFound as error:
        raise bad("model", str(error)) from None


def _sizes(query: _Query) -> tuple[int, int]:
    """Give the bounds of the content's size, upper and lower; 0 where there is none."""
    under, over = query.integer("r-under-content-size", 0), query.integer("r-over-content-size", 0)
    if under > 0 and over > under:
        raise bad("r-over-content-size", f"{over} is above r-under-content-size, which is {under}")
    return max(under, 0), max(over, 0)


def _content(query: _Query) -> tuple[bool, tuple[str, ...], tuple[str, ...]]:
    """Say whether content has to be there, which actions are wanted, and which are not."""
    content = query.flag("r-content")
    required, denied = query.actions("r-action"), query.actions("d-action")
    if content and (required or denied):
        raise Refused(422, _TITLE, "cannot combine r-content with r-action or d-action")
    return content, (SOURCED, EXTRACTED) if content else required, denied


def _flow(query: _Query, model: Model) -> tuple[bool, bool, bool]:
    """Say whether to read expedited events, those to come, and those from the beginning.

    Older clients say but ``ignore-historic`` and always want what is to come. Reading from the beginning
    goes on with it; leaving that out means to start with it.
    """
    expedite = query.flag("r-expedite")
    if expedite and model != "binary":
        raise bad("r-expedite", f"there is no such queue for {model} events")
    live, historic = query.flag_or_none("r-live"), query.flag_or_none("r-historic")
    ignored = query.flag_or_none("ignore-historic")
    if ignored is not None:
        if historic is ignored:
            raise _both("r-historic", "ignore-historic")
        historic = not ignored
        live = ignored and not expedite if live is None else live
    if not (expedite or live or historic):
        raise Refused(422, _TITLE, "at least one of r-expedite, r-live and r-historic must be true")
    return expedite, live or False, historic or False


def _streams(values: Sequence[str]) -> dict[str, dict[str, bool]]:
    """Read labels with their formats. A label given twice takes the formats of both; without any, all."""
    wanted: dict[str, dict[str, bool]] = {}
    for value in values:
        label, *starts = value.split(",")
        there = wanted.get(label)
        if there == {} or not starts:
            wanted[label] = {}
        else:
            wanted[label] = {**(there or {}), **dict.fromkeys(starts, True)}
    return wanted


def _expression(text: str) -> str:
    try:
        if text:
            Expression(text)
    except QueryError as error:
        raise bad("filter", error.why) from None
    return text

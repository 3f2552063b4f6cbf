"""What can go wrong, as one tree.

Every error says what was tried, on what, why it failed and what to do next, so that one sentence in a
log or on a screen is enough to act on.

    HeadraceError
    ├── SettingError        a setting is wrong; refused at start
    ├── BadInput            what was handed in cannot be used; trying again will not help
    │   ├── EventError      an event is not what its model says
    │   │   ├── EventCorrupt    does not decode into its model
    │   │   ├── EventOutdated   model version too old
    │   │   └── EventInvalid    decodes, breaks a rule of its model
    │   ├── QueryError      a search cannot be understood
    │   └── TooLarge        above a named limit
    ├── NotFound            nothing of that name
    ├── Conflict            somebody else was first, or the state forbids it
    ├── Unavailable         a part is down or slow; the same call may work later
    │   └── StorageFull     no space left where it must be durable
    ├── Damaged             what is stored is not what was written
    └── ParserFailure       the parser process gave up on one item
        ├── ParserTimeout
        ├── ParserMemory
        └── ParserCrash
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Something failed.

    Args:
        tried: The operation, as a short phrase: ``"append to topic azul.test01.system.status"``.
        why: The reason, with the offending value where there is one.
        todo: What the person or program in front of it can do; empty when nothing sensible exists.
    """

    def __init__(self, tried: str, why: str = "", todo: str = "") -> None:
        self.tried = tried
        self.why = why or (self.__doc__ or "").splitlines()[0]
        self.todo = todo
        super().__init__(tried, why, todo)

    def __str__(self) -> str:
        text = f"{self.tried}: {self.why}"
        return f"{text}; {self.todo}" if self.todo else text


class SettingError(HeadraceError):
    """A setting has a value that is not allowed."""


class BadInput(HeadraceError):
    """The input cannot be used as it is."""


class EventError(BadInput):
    """The event is not what its model says."""


class EventCorrupt(EventError):
    """The event does not decode into its model."""


class EventOutdated(EventError):
    """The event's model version is too old."""


class EventInvalid(EventError):
    """The event breaks a rule of its model."""


class QueryError(BadInput):
    """The search cannot be understood."""


class TooLarge(BadInput):
    """The input is above a limit."""


class NotFound(HeadraceError):
    """There is nothing of that name."""


class Conflict(HeadraceError):
    """The present state does not allow it."""


class Unavailable(HeadraceError):
    """A part this depends on does not answer."""


class StorageFull(Unavailable):
    """There is no space left."""


class Damaged(HeadraceError):
    """What is stored is not what was written."""


class ParserFailure(HeadraceError):
    """The parser process gave up on one item; the next item is unaffected."""


class ParserTimeout(ParserFailure):
    """Parsing took longer than its time limit."""


class ParserMemory(ParserFailure):
    """Parsing needed more memory than its limit."""


class ParserCrash(ParserFailure):
    """The parser process died on this item."""

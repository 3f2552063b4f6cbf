"""What all event structs share: how fields are left out, and the number types.

Fields come in two kinds (dispatcher contract, section 4). Those the tables mark *o* have a plain default
and are left out when they hold it. The others have a default *factory* that msgspec's ``omit_defaults``
does not compare with, so they are always written: `ALWAYS_TEXT` and its like.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

UINT32_MAX = 2**32 - 1
UINT64_MAX = 2**64 - 1

UInt32 = Annotated[int, msgspec.Meta(ge=0, le=UINT32_MAX)]
UInt64 = Annotated[int, msgspec.Meta(ge=0)]
"""Not negative; the upper bound is beyond what msgspec can check and is left to `validity`."""


class Part(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """Base of every event and part of one: immutable, by keyword, unknown fields ignored on input."""


def always_text() -> Any:
    """Give a text field that is empty when missing on input and is always written."""
    return msgspec.field(default_factory=str)


def always_number() -> Any:
    """Give an integer field that is 0 when missing on input and is always written."""
    return msgspec.field(default_factory=int)


def always_list() -> Any:
    """Give a tuple field that is empty when missing on input and is always written."""
    return msgspec.field(default_factory=_empty)


def optional_map() -> Any:
    """Give a mapping field that is left out when empty."""
    return msgspec.field(default_factory=dict)


def _empty() -> tuple[()]:
    """Give an empty tuple; not `tuple` itself, with which msgspec would leave empty lists out."""
    return ()


def always(kind: type[Part]) -> Any:
    """Give a part that is empty when missing on input and is always written, at least as ``{}``."""
    return msgspec.field(default_factory=kind)

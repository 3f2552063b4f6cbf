"""Refiners: a coarse format made finer by looking inside the file.

Each reads a bounded part of the file and gives back the format it was handed when it has nothing better
to say. What a file's own length fields claim is never trusted for how much to read.
Contract: dispatcher section 17, step 4.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from pipeline import limits
from pipeline.identify.magic import Seen
from pipeline.identify.subject import Subject
from pipeline.identify.zip_names import member_names

Refine: TypeAlias = Callable[[Subject, Seen, str], str]


class Refiner(NamedTuple):
    """One refiner and when it is asked."""

    name: str
    triggers: tuple[str, ...]
    """Formats it can make finer."""
    refine: Refine
    always: bool = False
    """May still run after another refiner has."""


_PE_OFFSET_AT = 0x3C
_DOS_HEADER_BYTES = 48
_PE_WIDTHS = {0x014C: "32", 0x8664: "64"}
_PE_IS_PROGRAM = 0x0002
_PE_IS_LIBRARY = 0x2000

_CART_HEADER = struct.Struct("<4sHQ")
_CART_HEADER_BYTES = 38

_OVERLAP_BYTES = 64


def refine_zip(subject: Subject, seen: Seen, name: str) -> str:
    """Tell ZIP files apart by the names of their members."""
    del seen
    names = member_names(subject)
    if names is None:
        return name
    classes = sum(member.endswith((".class", ".jar")) for member in names)
    if any(member.startswith("META-INF/") for member in names) or 2 * classes > len(names):
        return _java(names)
    if "AndroidManifest.xml" in names and "classes.dex" in names:
        return "android/apk"
    if _is_ios_app(names):
        return "ios/ipa"
    return _office(names) or "archive/zip"


def _java(names: list[str]) -> str:
    if "AndroidManifest.xml" in names and "classes.dex" in names:
        return "android/apk"
    return "ios/ipa" if _is_ios_app(names) else "java/jar"


def _is_ios_app(names: list[str]) -> bool:
    return any(
        member.startswith("Payload/") and member.endswith(".app/Info.plist") and member.count("/") == 2  # noqa: PLR2004
        for member in names
    )


def _office(names: list[str]) -> str | None:
    if "[Content_Types].xml" not in names or not any(n.startswith(("docProps/", "_rels/")) for n in names):
        return None
    for folder, program in (("word/", "word"), ("xl/", "excel"), ("ppt/", "powerpoint")):
        if any(member.startswith(folder) for member in names):
            return f"document/office/{program}"
    is_package = any(n.endswith(".nuspec") for n in names) and any(n.endswith(".psmdcp") for n in names)
    return "archive/zip" if is_package else "document/office/unknown"


def refine_cart(subject: Subject, seen: Seen, name: str) -> str:
    """Recognise the CaRT container by its mandatory header."""
    del seen
    if subject.size_bytes <= _CART_HEADER_BYTES:
        return name
    header = _CART_HEADER.unpack(subject.read(0, _CART_HEADER.size))
    return "archive/cart" if header == (b"CART", 1, 0) else name


def refine_dos(subject: Subject, seen: Seen, name: str) -> str:
    """Tell programs from libraries and 32 from 64 bits by the PE header."""
    del seen
    start = subject.read(0, _PE_OFFSET_AT + 4)
    if subject.size_bytes < _DOS_HEADER_BYTES:
        return "unknown"
    if len(start) < _PE_OFFSET_AT + 4:
        return name
    header = subject.read(int.from_bytes(start[_PE_OFFSET_AT:], "little"), 24)
    if len(header) < 24 or not header.startswith(b"PE\0\0"):  # noqa: PLR2004 - signature and file header
        return name
    width = _PE_WIDTHS.get(int.from_bytes(header[4:6], "little"))
    flags = int.from_bytes(header[22:24], "little")
    kind = "dll" if flags & _PE_IS_LIBRARY else "pe" if flags & _PE_IS_PROGRAM else None
    return f"executable/windows/{kind}{width}" if kind and width else name


def refine_pdf(subject: Subject, seen: Seen, name: str) -> str:
    """Recognise encrypted PDFs and portfolios."""
    del seen
    if _contains(subject, b"/Encrypt"):
        return "document/pdf/passwordprotected"
    return "document/pdf/portfolio" if _contains(subject, b"/Type/Catalog/Collection") else name


def _contains(subject: Subject, mark: bytes) -> bool:
    end = min(subject.size_bytes, limits.PDF_SEARCH_MAX_BYTES)
    return any(
        mark in subject.read(offset, limits.WHOLE_READ_BYTES + _OVERLAP_BYTES)
        for offset in range(0, end, limits.WHOLE_READ_BYTES)
    )


REFINERS = (
    Refiner("zip", ("document/office/unknown", "archive/zip", "java/jar", "unknown"), refine_zip),
    Refiner("cart", ("unknown",), refine_cart, always=True),
    Refiner("dos", ("executable/windows/dos",), refine_dos),
    Refiner("pdf", ("document/pdf",), refine_pdf, always=True),
)

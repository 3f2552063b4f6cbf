"""Text of strangers made visible: file names and the like may hold what steers a terminal or a page."""

from __future__ import annotations

from typing import Any


def visible(value: Any) -> str:
    """Return text whose control, direction and other unprintable characters are written as escapes.

    What is left can neither move a cursor nor turn the order of what stands beside it. Escaping for markup
    is another matter, left to the templates.
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def size_text(size_bytes: float) -> str:
    """Write a size for people: ``3.1 KiB``."""
    kibi = 1024
    if size_bytes < kibi:
        return f"{size_bytes:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size_bytes /= kibi
        if size_bytes < kibi:
            return f"{size_bytes:.1f} {unit}"
    return f"{size_bytes / kibi:.1f} TiB"

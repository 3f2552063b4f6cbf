"""Documents brought together by file: what people want to see of each, from several documents about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from pipeline.index.port import Hit

NAMES_MAX = 3


class FileSeen(msgspec.Struct):
    """One file, from the documents about it; the newest word counts."""

    sha256: str
    time: str = ""
    names: list[str] = []
    sources: list[str] = []
    type: str = ""
    size_bytes: int | None = None
    rules: list[str] = []
    """Names of the YARA rules that hit."""


def files_in(hits: Iterable[Hit]) -> list[FileSeen]:
    """Bring hits together by file, in the order in which the files first occur."""
    files: dict[str, FileSeen] = {}
    for hit in hits:
        sha256 = hit.body.get("sha256")
        if isinstance(sha256, str):
            _add(files.setdefault(sha256, FileSeen(sha256)), hit.body)
    return list(files.values())


def _add(file: FileSeen, body: dict[str, Any]) -> None:
    file.time = file.time or str(body.get("timestamp", ""))
    file.type = file.type or str(body.get("file_format") or body.get("mime") or "")
    if file.size_bytes is None and isinstance(body.get("size"), int):
        file.size_bytes = body["size"]
    _remember(file.names, _texts(body.get("filename")))
    _remember(file.sources, _texts((body.get("source") or {}).get("name")))
    features = body.get("features") or []
    _remember(file.rules, [str(f.get("value", "")) for f in features if f.get("name") == "yara_rule"])


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(one) for one in values if one]


def _remember(known: list[str], found: Iterable[str]) -> None:
    for text in found:
        if text not in known and len(known) < NAMES_MAX:
            known.append(text)

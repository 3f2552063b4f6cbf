"""The folder with the user's YARA rules: which files there are, what is in them, whether they changed.

Looks at names, sizes and times only until something changed; reading and compiling is for the parser
process. Rule files end in ``.yar`` or ``.yara`` and may lie in subfolders; links that lead nowhere and
files that cannot be read are quarantined, never fatal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from pipeline import limits

SUFFIXES = (".yar", ".yara")
_VERSION_DIGITS = 16


class RuleSource(NamedTuple):
    """One rule file: its path below the folder, its text, and why there is none."""

    file: str
    text: str
    problem: str = ""


def shipped_rules() -> Path:
    """Return the folder with the rules that come with Headrace."""
    return Path(str(resources.files("conf") / "rules"))


def fingerprint(folder: Path | None) -> str:
    """Return a value that changes when a rule file is added, removed, or differs in size or time."""
    digest = hashlib.sha256()
    for path, name in _files(folder):
        try:
            found = path.stat()
        except OSError:
            digest.update(f"{name}\0missing\n".encode())
        else:
            digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ino}\n".encode())
    return digest.hexdigest()


def read_sources(folder: Path | None) -> list[RuleSource]:
    """Read every rule file, in the order of their names."""
    return [_read(path, name) for path, name in _files(folder)]


def version_of(sources: list[RuleSource]) -> str:
    """Return the version of a rule set: a digest of all names and texts; empty for an empty set."""
    if not sources:
        return ""
    digest = hashlib.sha256()
    for source in sources:
        text = source.text.encode()
        digest.update(f"{source.file}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()[:_VERSION_DIGITS]


def _files(folder: Path | None) -> Iterator[tuple[Path, str]]:
    if folder is None or not folder.is_dir():
        return
    found = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and not path.is_dir())
    for path in found[: limits.RULE_FILES]:
        yield path, path.relative_to(folder).as_posix().encode("utf-8", "replace").decode()


def _read(path: Path, name: str) -> RuleSource:
    try:
        if not path.is_file():
            return RuleSource(name, "", "it is not a file")
        with path.open("rb") as file:
            data = file.read(limits.RULE_FILE_MAX_BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        return RuleSource(name, "", f"it cannot be read: {error}")
    if len(data) > limits.RULE_FILE_MAX_BYTES:
        return RuleSource(name, "", f"it is larger than {limits.RULE_FILE_MAX_BYTES} bytes")
    return RuleSource(name, text)

"""The TOML file of stanzas: which one is read, and what stands in it (archive contract, section 14.1).

Tables are stanzas; keys outside of every table are settings as the second generation's flat file has them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import conf
from pipeline.errors import SettingError

USUAL_NAME: Final = "housekeeping.toml"
SHIPPED_FILE: Final = Path(conf.__file__).parent / USUAL_NAME


class StanzaFile(NamedTuple):
    """A file as it was read."""

    path: Path
    content: Mapping[str, Any]

    @property
    def stanzas(self) -> dict[str, Mapping[str, Any]]:
        """Its tables by name."""
        return {name: value for name, value in self.content.items() if isinstance(value, dict)}

    @property
    def flat(self) -> dict[str, Any]:
        """What stands outside of every table."""
        return {name: value for name, value in self.content.items() if not isinstance(value, dict)}

    def stanza(self, name: str) -> Mapping[str, Any]:
        """Give the stanza of that name.

        Raises:
            SettingError: There is none; the error names those there are.
        """
        found = self.stanzas.get(name)
        if found is None:
            known = ", ".join(sorted(self.stanzas)) or "none"
            raise SettingError(
                f"stanza {name}", f"{self.path} has no such stanza", f"known stanzas: {known}"
            )
        return found


def stanza_file(named: Path | None) -> StanzaFile:
    """Read the file named, else ``housekeeping.toml`` here when there is one, else the shipped one.

    Raises:
        SettingError: It cannot be read, or is not TOML.
    """
    usual = Path(USUAL_NAME)
    if named is None:
        named = usual if usual.exists() else SHIPPED_FILE
    return read(named.expanduser())


def read(path: Path) -> StanzaFile:
    """Read a TOML file.

    Raises:
        SettingError: It cannot be read, or is not TOML.
    """
    try:
        return StanzaFile(path, tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingError(f"read {path}", error.strerror or str(error), "name another with -t") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"read {path}", f"not TOML: {error}") from error

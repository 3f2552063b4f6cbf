"""What became of a message that was handed to the archive."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a message.

    ``stored``: its object and row are durable, under `uuid` and `key`. ``duplicate``: it was stored
    before, `reason` says how that was told. ``refused``: it can never be stored, `reason` says why.
    """

    status: Literal["stored", "duplicate", "refused"]
    reason: str = ""
    uuid: UUID | None = None
    is_client_uuid: bool = False
    key: str = ""

    def triple(self) -> tuple[bool, dict[str, object], str]:
        """Give what upstream's library returns: stored or not, its identity if it was, why not."""
        if not self.stored:
            return False, {}, self.reason
        return True, {"archive_uuid": str(self.uuid), "is_client_uuid": self.is_client_uuid}, ""

    @property
    def stored(self) -> bool:
        """Say whether this call stored it."""
        return self.status == "stored"

    @property
    def duplicate(self) -> bool:
        """Say whether it was stored before."""
        return self.status == "duplicate"

    @property
    def refused(self) -> bool:
        """Say whether it can never be stored."""
        return self.status == "refused"

"""From what S3 and its two clients say to our errors.

Passing faults (no connection, no answer, overload, refused credentials that an operator can put right)
are `Unavailable`, so that whoever must not lose anything waits for them.
"""

from __future__ import annotations

import re

from obstore.exceptions import AlreadyExistsError, PreconditionError

from pipeline.errors import BadInput, Conflict, HeadraceError, NotFound, StorageFull, TooLarge, Unavailable

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "NoSpaceLeft"}
_TOO_LARGE = {"EntityTooLarge"}
_SHOWN = 300

NO_BUCKET = "NoSuchBucket"
NO_UPLOAD = "NoSuchUpload"
REFUSED = ("401", "403")
"""How the reason starts when the store does not accept who is asking."""


def answered(tried: str, status: int, code: str, message: str) -> HeadraceError:
    """Return our error for an answer of S3: HTTP status, S3 error code and its message."""
    why = f"{status} {code or message}".strip()
    if code == NO_BUCKET:
        return Unavailable(tried, why, "create the bucket, or correct the setting objects")
    if code == NO_UPLOAD:
        return Unavailable(tried, why, "the parts sent are gone; store the object again")
    if code in _FULL or status == 507:  # noqa: PLR2004 - RFC 4918, insufficient storage
        return StorageFull(tried, why, "make room in the store")
    if code in _TOO_LARGE:
        return TooLarge(tried, why)
    if why.startswith(REFUSED):
        return Unavailable(tried, why, "check the access key and the rights on the bucket")
    return _by_status(tried, status, why)


def _by_status(tried: str, status: int, why: str) -> HeadraceError:
    if status == 404:  # noqa: PLR2004
        return NotFound(tried, why)
    if status == 412:  # noqa: PLR2004 - the one condition ever set here is that there be none
        return Conflict(tried, "there is one already")
    if status == 409:  # noqa: PLR2004
        return Conflict(tried, why)
    if status in {400, 411, 413, 414, 416}:
        return BadInput(tried, why)
    return Unavailable(tried, why, "see whether the store is well")


def from_obstore(tried: str, error: Exception) -> HeadraceError:
    """Return our error for one of obstore, which tells the answer only in its text."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if isinstance(error, AlreadyExistsError):
        return Conflict(tried, "there is one already")
    if isinstance(error, PreconditionError):
        return Conflict(tried, "it was replaced meanwhile")
    if status:
        return answered(tried, int(status.group(1)), code.group(1) if code else "", "")
    if isinstance(error, FileNotFoundError):
        return NotFound(tried)
    return Unavailable(tried, text.split("\n", 1)[0][:_SHOWN], "see whether the store is up and reachable")


def from_botocore(tried: str, error: Exception) -> HeadraceError:
    """Return our error for one of botocore."""
    response = getattr(error, "response", None)
    if response is None:
        return Unavailable(tried, str(error)[:_SHOWN], "see whether the store is up and reachable")
    said = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return answered(tried, status, said.get("Code", ""), said.get("Message", "")[:_SHOWN])

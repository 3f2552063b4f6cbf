"""What a record costs, and the limit on it; the same for every log."""

from __future__ import annotations

from pipeline import limits
from pipeline.errors import BadInput, TooLarge
from pipeline.log.port import NewRecord, Record

_OVERHEAD_BYTES = 24


def record_size_bytes(record: NewRecord | Record, errors: str = "surrogateescape") -> int:
    """Return the bytes of key, value and headers, and what is stored beside them."""
    size_bytes = _OVERHEAD_BYTES + len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        name_bytes = len(name) if name.isascii() else len(name.encode("utf-8", errors))
        size_bytes += name_bytes + len(value or b"") + 8
    return size_bytes


def check_size(record: NewRecord) -> int:
    """Return the size of a record that is to be appended.

    Raises:
        TooLarge: It is above `RECORD_MAX_BYTES`. BadInput: The name of a header is no UTF-8.
    """
    try:
        size_bytes = record_size_bytes(record, "strict")
    except UnicodeEncodeError as error:
        tried = f"append to topic {record.topic}"
        raise BadInput(tried, f"the name of a header is no UTF-8: {error.object!r}") from error
    if size_bytes > limits.RECORD_MAX_BYTES:
        raise TooLarge(
            f"append to topic {record.topic}",
            f"the record has {size_bytes} bytes, {limits.RECORD_MAX_BYTES} are allowed",
            "put large content into the object store and its key into the record",
        )
    return size_bytes

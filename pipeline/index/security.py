"""The security of documents, until labels are configured: one text, and roles that everybody has.

This is where the label model hooks in (metastore contract, section 12): `normalise` becomes parsing and
rendering of labels, `combine` their maximum, `encode` the roles of a label. The callers stay as they are:
`pipeline.index.document_binary` and its neighbours combine what section 3.4 names, `pipeline.index.names`
chooses the open or shut half by the encoded roles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.index.names import ANYONE


def normalise(text: str, default: str) -> str:
    """Return a security string in upper case with single spaces; the default when it is missing."""
    return " ".join((text or default).upper().split())


def combine(texts: Iterable[str], default: str) -> str:
    """Return the security of what is made from such parts: theirs when all agree, else all of them."""
    return " ".join(sorted({normalise(text, default) for text in texts}))


def encode(security: str) -> dict[str, Any]:
    """Return who may read a document: everybody, until labels are configured."""
    del security
    return {"exclusive": [ANYONE], "inclusive": [ANYONE], "markings": [ANYONE], "num_exclusive": 1}

"""Text cut into words, the same way when it is written and when it is looked for.

A word is a run of letters and digits of any script, at most `WORD_MAX_CHARACTERS` long (a longer run is cut
into several), in lower case. The analyser ``words`` in conf/opensearch does the same on the server, so both
indices find the same documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

WORD_MAX_CHARACTERS = 256
"""Above every hash; far below the longest term an index can hold."""

_WORD = re.compile(rf"[^\W_]{{1,{WORD_MAX_CHARACTERS}}}")
_SIMPLE_CASE = {0x130: "i", 0x3A3: "\N{GREEK SMALL LETTER SIGMA}"}
"""Python lowers these two by more than one character or by context; the server does not."""


def words_of(texts: Iterable[str]) -> list[str]:
    """Return the distinct words of some texts, in order of their first appearance."""
    text = "\n".join(texts)
    if not text.isascii():
        text = text.translate(_SIMPLE_CASE)
    return list(dict.fromkeys(_WORD.findall(text.lower())))

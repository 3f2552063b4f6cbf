"""Scored YARA rules that tell one kind of text from another.

Of the rules of `conf/formats/text_*.yar` that match, the one with the highest score names the format, the
first one on ties. They see the start of the file with a line feed before it, so that a pattern may say
"at the start of a line"; UTF-16 is seen as UTF-8. Contract: dispatcher section 17, the last refiner.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence

import yara_x

from pipeline import limits
from pipeline.errors import SettingError

_VARIABLES = ("mime", "magic", "type")


class TextRules:
    """The rules, compiled; not safe across threads.

    Args:
        sources: Files of rules by name; their order is that of the rules.

    Raises:
        SettingError: They do not compile, or a rule has no ``type``.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        rules = _compile(sources)
        self._verdicts = {rule.identifier: _verdict(rule) for rule in rules}
        self.names = {name for _, name in self._verdicts.values()}
        self._scanner = yara_x.Scanner(rules)
        self._scanner.set_timeout(limits.FORMAT_TIMEOUT_SECONDS)
        self._scanner.max_matches_per_pattern(100)

    def best(self, block: bytes, *, mime: str, magic: Sequence[str], current: str) -> str:
        """Return the format of the best rule for the start of a file, `current` when none matches.

        A file with a NUL byte in it is not text and stays what it is.
        """
        block = _as_utf8(block)
        if b"\0" in block:
            return current
        self._scanner.set_global("mime", mime)
        self._scanner.set_global("magic", "\n".join(magic))
        self._scanner.set_global("type", current)
        try:
            matching = self._scanner.scan(b"\n" + block).matching_rules
        except (yara_x.ScanError, yara_x.TimeoutError):
            return current
        verdicts = [self._verdicts[rule.identifier] for rule in matching]
        score, name = max(verdicts, key=lambda verdict: verdict[0], default=(0, current))
        return name if score > 0 else current


def _compile(sources: Mapping[str, str]) -> yara_x.Rules:
    compiler = yara_x.Compiler(includes_enabled=False)
    for variable in _VARIABLES:
        compiler.define_global(variable, "")
    try:
        for name, text in sources.items():
            compiler.add_source(text, name)
    except yara_x.CompileError as error:
        raise SettingError("compile the text rules of the file formats", str(error)) from error
    return compiler.build()


def _verdict(rule: yara_x.Rule) -> tuple[int, str]:
    meta = dict(rule.metadata)
    if "type" not in meta:
        raise SettingError("read the text rules of the file formats", f"rule {rule.identifier} has no type")
    return int(meta.get("score", 1)), str(meta["type"])


def _as_utf8(block: bytes) -> bytes:
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return block.decode("utf-16", "replace").encode()
    return block

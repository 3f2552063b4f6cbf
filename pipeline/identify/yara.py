"""The user's YARA rules, compiled once and run over the start of every file.

Each file is a namespace of its own. A file with an error is left out alone and reported; `include` is
refused, because what it names would change unseen. A scan reads at most `limits.YARA_SCAN_MAX_BYTES`, takes
at most `limits.YARA_TIMEOUT_SECONDS`, and says so when it was cut short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import yara_x

from pipeline import limits
from pipeline.identify.result import Meta, Quarantined, RuleHit, RuleReport, Scan
from pipeline.identify.rules_folder import RuleSource, version_of
from pipeline.identify.subject import Subject

_MATCHES_PER_PATTERN = 100
_MESSAGE_MAX_CHARACTERS = 2000


class UserRules:
    """A compiled rule set; not safe across threads."""

    def __init__(
        self,
        sources: list[RuleSource],
        *,
        scan_max_bytes: int = limits.YARA_SCAN_MAX_BYTES,
        timeout_seconds: int = limits.YARA_TIMEOUT_SECONDS,
    ) -> None:
        self._scan_max_bytes = scan_max_bytes
        self._timeout_seconds = timeout_seconds
        rules, quarantined = _compile(sources)
        self.report = RuleReport(version_of(sources), sum(1 for _ in rules), tuple(quarantined))
        self._scanner = yara_x.Scanner(rules) if self.report.rules else None
        if self._scanner:
            self._scanner.set_timeout(timeout_seconds)
            self._scanner.max_matches_per_pattern(_MATCHES_PER_PATTERN)

    def scan(self, subject: Subject) -> Scan:
        """Run the rules over the start of a file."""
        version = self.report.version
        if self._scanner is None:
            return Scan(version)
        block = subject.read(0, self._scan_max_bytes)
        truncated = len(block) < subject.size_bytes
        try:
            matching = self._scanner.scan(block).matching_rules
        except yara_x.TimeoutError:
            problem = f"the rules took longer than {self._timeout_seconds} s"
            return Scan(version, scanned_bytes=len(block), truncated=truncated, problem=problem)
        except yara_x.ScanError as error:
            return Scan(version, scanned_bytes=len(block), truncated=truncated, problem=str(error))
        hits = tuple(_hit(rule) for rule in matching[: limits.YARA_HITS])
        return Scan(version, hits, len(matching) - len(hits), len(block), truncated)


def _compile(sources: Sequence[RuleSource]) -> tuple[yara_x.Rules, list[Quarantined]]:
    """Compile all files together; when some fail, once more without them."""
    quarantined = [Quarantined(source.file, 0, source.problem) for source in sources if source.problem]
    good = [source for source in sources if not source.problem]
    while True:
        rules, failed = _compile_all(good)
        if rules is not None:
            return rules, sorted(quarantined, key=lambda one: one.file)
        quarantined += failed
        bad = {one.file for one in failed}
        good = [source for source in good if source.file not in bad]


def _compile_all(sources: Iterable[RuleSource]) -> tuple[yara_x.Rules | None, list[Quarantined]]:
    compiler = yara_x.Compiler(includes_enabled=False)
    failed: list[Quarantined] = []
    for source in sources:
        # The rules before the error of a failing file stay in the compiler; it is thrown away then.
        seen = len(compiler.errors())
        compiler.new_namespace(source.file)
        try:
            compiler.add_source(source.text, source.file)
        except yara_x.CompileError as error:
            failed.append(_quarantined(source.file, error, compiler.errors()[seen:]))
    return (None, failed) if failed else (compiler.build(), [])


def _quarantined(file: str, error: Exception, details: Sequence[Mapping[str, Any]]) -> Quarantined:
    line = int(details[0].get("line") or 0) if details else 0
    return Quarantined(file, line, str(error)[:_MESSAGE_MAX_CHARACTERS])


def _hit(rule: yara_x.Rule) -> RuleHit:
    tags = tuple(_short(tag) for tag in rule.tags[: limits.YARA_TAGS])
    meta = {_short(key): _small(value) for key, value in islice(rule.metadata, limits.YARA_META)}
    return RuleHit(_short(rule.identifier), rule.namespace, tags, meta)


def _short(text: str) -> str:
    return text[: limits.YARA_TEXT_MAX_CHARACTERS]


def _small(value: object) -> Meta:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, bool | int | float) else _short(str(value))

"""User rules: a failing file is left out alone, a scan is bounded and says so, versions follow texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import limits
from pipeline.identify.rules_folder import RuleSource, fingerprint, read_sources, shipped_rules, version_of
from pipeline.identify.yara import UserRules
from tests.identify.support import SLOW_MARK, SLOW_RULE, subject_of

GOOD = """rule good : first second {
  meta: author = "me" level = 3 sure = true
  strings: $a = "needle"
  condition: $a }"""
EICAR = (b"X5O!P%@AP[4\\PZX54(P^)7CC)7}", b"$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*")


def test_a_hit_carries_rule_file_tags_and_metadata(tmp_path: Path) -> None:
    rules = UserRules([RuleSource("folder/good.yar", GOOD)])
    with subject_of(tmp_path, b"hay needle hay") as subject:
        scan = rules.scan(subject)
    (hit,) = scan.hits
    assert (hit.rule, hit.file, hit.tags) == ("good", "folder/good.yar", ("first", "second"))
    assert hit.meta == {"author": "me", "level": 3, "sure": True}
    assert scan.rules_version == rules.report.version != ""
    assert not scan.truncated


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rule a { condition: true }\nrule b { condition: nowhere }", 2),
        ("this is no rule", 1),
        ('include "other.yar"\nrule a { condition: true }', 1),
        ('\n\nrule a { strings: $x = "y" condition: $z }', 3),
        ('import "no_such_module" rule a { condition: true }', 1),
    ],
)
def test_a_file_with_an_error_never_takes_another_one_along(tmp_path: Path, text: str, line: int) -> None:
    sources = [RuleSource("a.yar", GOOD), RuleSource("bad.yar", text), RuleSource("z.yar", GOOD)]
    rules = UserRules(sources)
    (quarantined,) = rules.report.quarantined
    assert (quarantined.file, quarantined.line) == ("bad.yar", line)
    assert "error" in quarantined.message
    with subject_of(tmp_path, b"needle") as subject:
        assert [(hit.file, hit.rule) for hit in rules.scan(subject).hits] == [
            ("a.yar", "good"),
            ("z.yar", "good"),
        ]


def test_several_bad_files_are_each_reported() -> None:
    sources = [RuleSource(f"{n}.yar", "rule" if n % 2 else GOOD) for n in range(6)]
    report = UserRules(sources).report
    assert [one.file for one in report.quarantined] == ["1.yar", "3.yar", "5.yar"]
    assert report.rules == 3


def test_only_the_start_of_a_large_file_is_scanned_and_the_result_says_so(tmp_path: Path) -> None:
    rules = UserRules([RuleSource("good.yar", GOOD)], scan_max_bytes=1000)
    with subject_of(tmp_path, b"." * 994 + b"needle" + b"." * 10) as subject:
        scan = rules.scan(subject)
    assert (scan.scanned_bytes, scan.truncated, len(scan.hits)) == (1000, True, 1)
    with subject_of(tmp_path, b"." * 995 + b"needle") as subject:
        scan = rules.scan(subject)
    assert (scan.truncated, scan.hits) == (True, ())
    with subject_of(tmp_path, b"." * 1000) as subject:
        assert not rules.scan(subject).truncated


def test_rules_out_of_time_leave_a_reason_and_the_next_file_is_scanned(tmp_path: Path) -> None:
    rules = UserRules([RuleSource("slow.yar", SLOW_RULE), RuleSource("good.yar", GOOD)], timeout_seconds=1)
    with subject_of(tmp_path, SLOW_MARK + b"needle" * 5000) as subject:
        scan = rules.scan(subject)
    assert "longer than 1 s" in scan.problem
    assert scan.hits == ()
    with subject_of(tmp_path, b"needle") as subject:
        assert [hit.rule for hit in rules.scan(subject).hits] == ["good"]


def test_hits_tags_and_metadata_are_bounded(tmp_path: Path) -> None:
    count = limits.YARA_HITS + 7
    meta = " ".join(f'k{n} = "{"v" * 1000}"' for n in range(50))
    text = "\n".join(f"rule r{n} {{ meta: {meta} condition: true }}" for n in range(count))
    tags = " ".join(f"t{n}" for n in range(50))
    rules = UserRules(
        [RuleSource("a.yar", f"rule tagged : {tags} {{ condition: true }}"), RuleSource("b.yar", text)]
    )
    with subject_of(tmp_path, b"x") as subject:
        scan = rules.scan(subject)
    assert len(scan.hits) == limits.YARA_HITS
    assert scan.hits_left_out == count + 1 - limits.YARA_HITS
    assert len(scan.hits[0].tags) == limits.YARA_TAGS
    assert len(scan.hits[1].meta) == limits.YARA_META
    assert all(len(str(value)) <= limits.YARA_TEXT_MAX_CHARACTERS for value in scan.hits[1].meta.values())


def test_no_rules_are_no_trouble(tmp_path: Path) -> None:
    rules = UserRules([])
    assert rules.report.version == ""
    with subject_of(tmp_path, b"x") as subject:
        assert rules.scan(subject).hits == ()


def test_the_version_follows_names_and_texts_and_nothing_else() -> None:
    one, two = RuleSource("a.yar", "x"), RuleSource("b.yar", "y")
    versions = {
        version_of([one]),
        version_of([two]),
        version_of([one, two]),
        version_of([RuleSource("a.yar", "xb.yar"), RuleSource("", "y")]),
        version_of([RuleSource("c.yar", "x")]),
    }
    assert len(versions) == 5
    assert version_of([one, two]) == version_of([RuleSource(*one), RuleSource(*two)])


def test_what_cannot_be_read_is_quarantined_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "good.yara").write_text(GOOD)
    (tmp_path / "latin.yar").write_bytes(b"rule x { condition: true } // \xff")
    (tmp_path / "gone.yar").symlink_to(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no rule")
    os.mkfifo(tmp_path / "pipe.yar")
    report = UserRules(read_sources(tmp_path)).report
    assert [one.file for one in report.quarantined] == ["gone.yar", "latin.yar", "pipe.yar"]
    assert all(one.message for one in report.quarantined)
    assert report.rules == 1


def test_a_change_of_the_folder_shows_in_its_fingerprint(tmp_path: Path) -> None:
    seen = {fingerprint(tmp_path)}
    path = tmp_path / "a.yar"
    path.write_text("x")
    seen.add(fingerprint(tmp_path))
    assert fingerprint(tmp_path) in seen
    path.write_text("xy")
    seen.add(fingerprint(tmp_path))
    path.rename(tmp_path / "b.yar")
    seen.add(fingerprint(tmp_path))
    found = (tmp_path / "b.yar").stat()
    (tmp_path / "b.yar").write_text("xyz")
    os.utime(tmp_path / "b.yar", ns=(found.st_atime_ns, found.st_mtime_ns))
    seen.add(fingerprint(tmp_path))
    assert len(seen) == 5
    (tmp_path / "notes.txt").write_text("not a rule file")
    assert fingerprint(tmp_path) in seen
    assert fingerprint(tmp_path / "missing") == fingerprint(None)


def test_the_shipped_rules_compile_and_find_the_test_file(tmp_path: Path) -> None:
    rules = UserRules(read_sources(shipped_rules()))
    assert rules.report.quarantined == ()
    with subject_of(tmp_path, b"".join(EICAR)) as subject:
        assert [hit.rule for hit in rules.scan(subject).hits] == ["eicar_test_file"]
    document = b"%PDF-1.4\n" + b"This program cannot be run in DOS mode"
    with subject_of(tmp_path, document) as subject:
        assert [hit.rule for hit in rules.scan(subject).hits] == ["program_inside_document"]
    own = next(path for path in shipped_rules().glob("*.yar"))
    with subject_of(tmp_path, own.read_bytes()) as subject:
        assert rules.scan(subject).hits == ()

"""File formats: the contract's names for bytes made here, and no bytes that make it fail."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import limits
from pipeline.identify.formats import Format, Formats, shipped_formats
from pipeline.identify.identifier import Identifier
from pipeline.identify.magic import Magic, Seen
from pipeline.identify.result import Identified
from pipeline.identify.yara import UserRules
from tests.identify.samples import SAMPLES, zipped
from tests.identify.support import subject_of


@pytest.fixture(scope="module")
def formats() -> Formats:
    return shipped_formats()


@pytest.fixture(scope="module")
def identifier(formats: Formats) -> Identifier:
    return Identifier(Magic(), formats, UserRules([]))


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_format_gets_its_name_and_extension(
    identifier: Identifier, tmp_path: Path, sample: str
) -> None:
    name, extension, data = SAMPLES[sample]
    found = _identify(identifier, tmp_path, data)
    assert (found.file_format, found.file_extension) == (name, extension), (found.magic, found.mime)


def test_the_empty_file_is_what_the_contract_says(identifier: Identifier, tmp_path: Path) -> None:
    found = _identify(identifier, tmp_path, b"")
    assert (found.mime, found.magic) == ("inode/x-empty", "empty")
    assert (found.file_format, found.file_extension, found.size_bytes) == ("unknown", "", 0)


def test_the_name_list_is_the_contracts(formats: Formats) -> None:
    assert len(formats.extensions) == 160
    assert formats.extensions["archive/udf"] == "txt"
    assert all(re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)*", name) for name in formats.extensions)


def test_a_name_outside_the_list_is_refused_when_the_rules_are_read() -> None:
    tables = {
        "rules": [{"format": "new/thing", "magic": "x"}],
        "mime": {},
        "indicators": [],
        "extensions": {"unknown": ""},
    }
    with pytest.raises(Exception, match="new/thing"):
        Formats(tables, {})


def test_a_vague_best_match_gives_way_to_a_telling_later_one(formats: Formats, tmp_path: Path) -> None:
    with subject_of(tmp_path, b"anything at all\n") as subject:
        seen = Seen(["data", "gzip compressed data"], "application/octet-stream", list)
        assert formats.identify(subject, seen) == Format("archive/gzip", "gzip")
        seen = Seen(["data", "x"], "application/octet-stream", lambda: ["text/plain", "application/pdf"])
        assert formats.identify(subject, seen).name == "document/pdf"


@pytest.mark.parametrize(
    "seen",
    [
        Seen([], "", list),
        Seen([""], "", list),
        Seen(["data"], "no/such", lambda: ["image/unheard-of"]),
        Seen(["Zip archive data"], "application/zip", list),
        Seen(["PE32 executable"], "application/x-dosexec", list),
        Seen(["PDF document"], "application/pdf", list),
    ],
)
def test_what_libmagic_says_of_other_bytes_never_fails_it(
    formats: Formats, tmp_path: Path, seen: Seen
) -> None:
    for data in _hostile():
        with subject_of(tmp_path, data) as subject:
            assert formats.identify(subject, seen).name in formats.extensions


def _hostile() -> Iterator[bytes]:
    """Yield headers whose length fields lie."""
    yield b"x"
    yield b"MZ" + bytes(58) + b"\xff\xff\xff\xff"
    yield b"MZ" + bytes(58) + struct.pack("<I", 62) + b"PE"
    yield b"CART\x01\x00" + bytes(8)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 0xFFFFFFFE, 0, 0)
    yield b"PK\x03\x04" + end
    end64 = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 2**63, 1)
    yield b"PK\x03\x04" + locator + end64
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2**60, 2**60, 2**63, 0)
    yield record + struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1) + end64
    yield zipped("a" * 5000)[:-30] + end
    yield b"%PDF-1.5" + b"/Encryp" * 100


def test_a_zip_directory_is_read_only_up_to_its_limit(
    identifier: Identifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = (f"{n:060}.txt" for n in range(2000))
    data = zipped("[Content_Types].xml", "_rels/.rels", *members, "word/document.xml")
    assert _identify(identifier, tmp_path, data).file_format == "document/office/word"
    monkeypatch.setattr(limits, "ZIP_DIRECTORY_MAX_BYTES", 1000)
    assert _identify(identifier, tmp_path, data).file_format == "document/office/unknown"


@pytest.mark.parametrize("whole_bytes", [16, limits.WHOLE_READ_BYTES])
def test_a_refiner_that_trips_over_a_file_leaves_its_coarser_name(
    formats: Formats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    """Offsets beyond what the system can read at all, in files that are read piece by piece too."""
    monkeypatch.setattr(limits, "WHOLE_READ_BYTES", whole_bytes)
    for data in _hostile():
        with subject_of(tmp_path, data) as subject:
            found = formats.identify(subject, Seen(["Zip archive data"], "application/zip", list))
            assert found.name == "archive/zip"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.data())
def test_no_bytes_ever_fail_identification(
    identifier: Identifier, tmp_path: Path, data: st.DataObject
) -> None:
    content = data.draw(
        st.one_of(st.binary(max_size=2000), _damaged(), st.text(max_size=500).map(str.encode))
    )
    found = _identify(identifier, tmp_path, content)
    assert found.file_format
    assert found.mime
    assert found.sha256


def _damaged() -> st.SearchStrategy[bytes]:
    """Samples cut short, with some bytes overwritten."""
    whole = st.sampled_from([data for _, _, data in SAMPLES.values()])
    changes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=5)
    return st.builds(_damage, whole, st.integers(1, 10_000), changes)


def _damage(data: bytes, size_bytes: int, changes: Sequence[tuple[int, int]]) -> bytes:
    damaged = bytearray(data[:size_bytes])
    for at, value in changes:
        damaged[at % len(damaged) if damaged else 0 : (at % len(damaged) if damaged else 0) + 1] = bytes(
            [value]
        )
    return bytes(damaged)


def _identify(identifier: Identifier, folder: Path, data: bytes) -> Identified:
    with subject_of(folder, data) as subject:
        return identifier.identify(subject)

"""Hashes: the values of other tools, the bounds of the contract, the same for small and large files."""

from __future__ import annotations

import hashlib
import math
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import limits
from pipeline.identify.hashes import Hashes, hash_bytes, hash_file
from tests.identify.support import repeating_text, stream

# Made with py-tlsh 5.0.0 (`tlsh.hash`, lower-cased behind T1) and ppdeep 20260221 (`ppdeep.hash`).
TLSH_OF_STREAM = {
    51: "T1bd9002f889455b86610556111974c40a21d005892460f5822855704515610436c53695",
    64: "T188a022f888002b8b2000820208b8c00a20c0808c2020f3c2280030000a220833c23280",
    4095: "T108815c1df272a6fdb15df9299528cb420bf4ea2d54c1e952af28a841d0e1608ea73171",
    4096: "T12f815c1df272a6fdb15df9299528cb420bf4ea2d54c1e952af28a841d0e1608ea73171",
    100_000: "T15ea3126b56bc76ebd9367b166507756fc78c933c4c826433fb090e4a04f8dac92ab610",
}
SSDEEP_OF_STREAM = {
    4096: "96:Z2v3zcVwcHIiPxfORdQTLdubdWdYtSQFh5PmCt7dlRLAQ7THp:DwAKGupWdYtn5uCtJLAcTHp",
    100_000: "3072:ImPUAm0B4KZCB8RKteBiA6lieZmBFX7Q2A/DW:ImPUAd/C+6i+IrQ2A/q",
}


def _of_file(path: Path) -> Hashes:
    with path.open("rb", buffering=0) as file:
        return hash_file(file)


@pytest.mark.parametrize("size_bytes", TLSH_OF_STREAM)
def test_tlsh_is_the_one_of_py_tlsh(size_bytes: int) -> None:
    assert hash_bytes(stream(size_bytes)).tlsh == TLSH_OF_STREAM[size_bytes]


@pytest.mark.parametrize("size_bytes", SSDEEP_OF_STREAM)
def test_ssdeep_is_the_one_of_ppdeep(size_bytes: int) -> None:
    assert hash_bytes(stream(size_bytes)).ssdeep == SSDEEP_OF_STREAM[size_bytes]


def test_text_has_the_fuzzy_hashes_of_the_other_tools() -> None:
    found = hash_bytes(repeating_text())
    assert found.tlsh == "T1f88284357188ab45fa4b2c22739a750c6e51eefe56948174bfe32432b15168eb0383df"
    assert found.ssdeep.startswith("384:N/6z4x+fE9KaNXwbmZMni1FyTYRor/kdq0PuhojCVsHvUBODI1inMeRk/yFYT2pj:")


def test_nothing_below_the_contracts_sizes_has_a_fuzzy_hash() -> None:
    assert hash_bytes(stream(50)).tlsh == ""
    assert hash_bytes(stream(4095)).ssdeep == ""


@pytest.mark.parametrize("data", [b"a" * 1000, b"ab" * 500, bytes(100_000)])
def test_bytes_that_vary_too_little_have_no_tlsh_and_fail_nothing(data: bytes) -> None:
    assert hash_bytes(data).tlsh == ""


def test_hashes_are_those_of_the_systems_own_tools(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(stream(300_000))
    found = _of_file(path)
    for tool in ("md5", "sha1", "sha256", "sha512"):
        printed = subprocess.run([f"{tool}sum", path], check=True, capture_output=True, text=True).stdout
        assert getattr(found, tool) == printed.split()[0]


@pytest.mark.parametrize(
    "size_bytes",
    [
        0,
        1,
        50,
        51,
        4095,
        4096,
        limits.CHUNK_BYTES - 1,
        limits.CHUNK_BYTES,
        limits.CHUNK_BYTES + 1,
        3_000_001,
    ],
)
def test_a_file_read_in_chunks_never_differs_from_one_read_at_once(tmp_path: Path, size_bytes: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(stream(size_bytes))
    found = _of_file(path)
    assert found == hash_bytes(stream(size_bytes))
    assert found.size_bytes == size_bytes
    assert found.sha256 == hashlib.sha256(stream(size_bytes)).hexdigest()


def test_hashing_starts_at_the_start_wherever_the_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(stream(10_000))
    with path.open("rb", buffering=0) as file:
        file.seek(5000)
        assert hash_file(file) == hash_bytes(stream(10_000))


@pytest.mark.parametrize(
    ("data", "bits"),
    [(b"", 0.0), (b"aaaa", 0.0), (b"abab", 1.0), (b"abcd" * 100, 2.0), (bytes(range(256)) * 4, 8.0)],
)
def test_entropy_of_what_can_be_counted_by_hand(data: bytes, bits: float) -> None:
    assert hash_bytes(data).entropy == pytest.approx(bits, abs=1e-12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(data=st.binary(max_size=10_000))
def test_no_bytes_ever_fail(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(data)
    found = hash_bytes(data)
    assert _of_file(path) == found
    shares = [data.count(value) / len(data) for value in set(data)]
    assert found.entropy == pytest.approx(-sum(share * math.log2(share) for share in shares), abs=1e-9)

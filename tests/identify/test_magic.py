"""libmagic: the bundled one, saying what ``file`` says with it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.identify.magic import Magic, newest, published
from pipeline.identify.subject import Subject

FILES = 300


@pytest.fixture(scope="module")
def magic() -> Magic:
    return Magic()


def _files_of_this_machine() -> Iterator[Path]:
    """Yield programs, libraries, compiled and source Python, texts, pictures, archives."""
    python = Path(sys.executable).resolve().parent.parent
    for folder in (Path("/usr/bin"), python / "lib", Path(sys.prefix) / "lib", Path("/usr/share")):
        files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
        yield from itertools.islice(files, 0, 20 * FILES, 80)


def _said_by_file(paths: list[Path]) -> list[str]:
    """Ask the file command, with the library and database that are in use here."""
    _, database = newest()
    environment = dict(os.environ)
    if database is not None:
        environment |= {"LD_LIBRARY_PATH": str(database.parent), "MAGIC": str(database)}
    command = ["file", "--brief", "--mime-type", "--", *map(str, paths)]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    ).stdout.splitlines()


@pytest.mark.skipif(shutil.which("file") is None, reason="needs the file command")
def test_mime_type_is_what_the_file_command_prints_with_the_same_library(magic: Magic) -> None:
    paths = [path for path in _files_of_this_machine() if path.stat().st_size][:FILES]
    assert len(paths) > FILES / 2
    ours = []
    for path in paths:
        with Subject(str(path)) as subject:
            ours.append(magic.mime_type(subject.file.fileno()))
    differing = [row for row in zip(paths, ours, _said_by_file(paths), strict=True) if row[1] != row[2]]
    assert differing == []
    assert len(set(ours)) > 5


def test_a_file_is_read_from_its_start_wherever_the_descriptor_stands(magic: Magic, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(b"GIF89a\x01\x00\x01\x00" + bytes(100))
    with path.open("rb", buffering=0) as file:
        file.seek(50)
        assert magic.mime_type(file.fileno()) == "image/gif"
        assert magic.descriptions(file.fileno())[0].startswith("GIF image data")


def test_no_setting_of_the_environment_has_a_say_in_libmagic() -> None:
    """Neither MAGIC nor an import of pylibmagic changes it, and ctypes stays as it was."""
    script = (
        "import ctypes; before = ctypes.CDLL.__init__\n"
        "from pipeline.identify.magic import Magic\n"
        "assert Magic().mime_type_of(b'GIF89a' + bytes(50)) == 'image/gif'\n"
        "assert ctypes.CDLL.__init__ is before\n"
    )
    environment = {**os.environ, "MAGIC": "/nonexistent.mgc"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_the_bundled_library_serves_where_the_system_has_none() -> None:
    script = (
        "from pipeline.identify import magic\n"
        "load = magic._load\n"
        "def without_system(path):\n"
        "    if '/' not in path: raise magic.MagicError('load it', 'there is none')\n"
        "    return load(path)\n"
        "magic._load = without_system\n"
        "assert magic.Magic().mime_type_of(b'GIF89a' + bytes(50)) == 'image/gif'\n"
        "mapped = {line.split()[-1] for line in open('/proc/self/maps') if 'libmagic' in line}\n"
        "assert mapped and all('pylibmagic' in path for path in mapped), mapped\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_is_published_is_ascii_of_bounded_length() -> None:
    assert published("Grüße, \ufffdx") == "Gr..e, .x"
    assert len(published("é" * 100_000)) == 4096


@pytest.mark.parametrize(
    ("block", "mime"),
    [
        (b"", "application/x-empty"),
        (b"plain words\n", "text/plain"),
        (b"%PDF-1.5\n%abc", "application/pdf"),
    ],
)
def test_the_mime_type_of_bytes_in_memory(magic: Magic, block: bytes, mime: str) -> None:
    assert magic.mime_type_of(block) == mime

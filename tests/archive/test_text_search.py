"""Searching archived messages by their words, on both databases (archive contract, section 17.1)."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from pipeline import limits_archive
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.database.engine import Database
from pipeline.errors import QueryError
from tests.archive.archived import a_message
from tests.archive.texts import index, search
from tests.databases import execute, rows

TEXTS = {
    "bright": "a bright flash near the crab nebula",
    "faint": "a faint flash near the swan nebula",
    "quoted": "nebula crab, bright; GRB-230101A at 10.5d",
    "accents": "Größe 17 Ärger",
    "empty": "",
}


@pytest.fixture
async def stored(database: Database, writer: ArchiveWriter) -> dict[str, UUID]:
    """Store a message for each text, and one that has none; give the uuids by name."""
    names = [*TEXTS, "without"]
    outcomes = await writer.store([a_message(n) for n in range(len(names))])
    uuids = {name: outcome.uuid for name, outcome in zip(names, outcomes, strict=True) if outcome.uuid}
    await index(database, {uuids[name]: text for name, text in TEXTS.items()})
    return uuids


FOUND = {
    "flash": "bright faint",
    "FLASH bright": "bright",
    "crab nebula": "bright quoted",
    '"crab nebula"': "bright",
    '"nebula crab"': "quoted",
    '"crab nebula': "bright",
    "crab or swan": "bright faint quoted",
    "bright crab OR faint swan": "bright faint quoted",
    "nebula -crab": "faint",
    'nebula -"crab nebula"': "faint quoted",
    "-nebula": "accents empty",
    "swan or -nebula": "faint accents empty",
    "nebula -crab -swan": "",
    "grb-230101a": "quoted",
    "größe": "accents",
    "17": "accents",
    "supernova": "",
    "nebula:flash": "bright faint",
    "(crab) & nebula!": "bright quoted",
    "-:crab": "faint accents empty",
    "-::crab": "bright quoted",
}
"""Searches, and the names of the texts they find."""


async def test_both_databases_find_the_same(database: Database, stored: dict[str, UUID]) -> None:
    names = {uuid: name for name, uuid in stored.items()}
    found = {words: {names[uuid] for uuid in await search(database, words)} for words in FOUND}
    assert found == {words: set(wanted.split()) for words, wanted in FOUND.items()}


HOSTILE = [
    "",
    "   ",
    "!?",
    '"',
    '""',
    '"""',
    "-",
    "- - -",
    '-""',
    "()",
    "* ^ : ~ ' \\ ; --",
    "\0",
    "\N{PILE OF POO}",
    "; DROP TABLE messages --",
    "' OR 1=1 --",
    '" OR "" = "',
    "NEAR(crab nebula, 5)",
    "text_data: crab",
    "{text_data} : crab",
    "^crab",
    "crab* AND NOT (",
    "crab NOT",
    "NOT NOT AND OR",
    "or or or",
    "\ud800",
    "%s %(x)s :x ? $1",
    "-" * 999,
    "-" * 99 + "x",
    ":-" * 99 + "x",
    "a " * 499,
    "-a " * 333,
    "a or " * 200,
    "-a or " * 160,
    "a -b or " * 120,
    "cat \U0001e900",
    '"' * 1000,
    "x" * 1000,
    "\N{LATIN SMALL LETTER SHARP S}" * 1000,
]


async def test_whatever_is_typed_is_a_search(database: Database, stored: dict[str, UUID]) -> None:
    for words in HOSTILE:
        await search(database, words)
    assert await search(database, "flash") == sorted([stored["bright"], stored["faint"]])


async def test_a_search_without_words_finds_nothing(database: Database, stored: dict[str, UUID]) -> None:
    assert stored
    for words in ("", " ", "!?", '""', '-"!"', "\0", "or ''"):
        assert await search(database, words) == []


async def test_a_search_that_is_too_long_is_refused(database: Database) -> None:
    with pytest.raises(QueryError, match="1001 characters"):
        await search(database, "x" * (limits_archive.SEARCH_MAX_CHARACTERS + 1))


async def test_a_message_indexed_twice_is_found_once_and_by_its_last_text(
    database: Database, stored: dict[str, UUID]
) -> None:
    for text in ("comet first", "comet second"):
        await index(database, {stored["bright"]: text})
    assert await search(database, "comet") == [stored["bright"]]
    assert await search(database, "first or crab") == [stored["quoted"]]
    assert await search(database, "second") == [stored["bright"]]


async def test_a_deleted_message_is_not_found_and_one_without_row_is_not_indexed(
    database: Database, stored: dict[str, UUID]
) -> None:
    await execute(database, [f"DELETE FROM messages WHERE uuid = '{stored['bright']}'"])  # noqa: S608
    await index(database, {stored["bright"]: "flash", stored["empty"]: "flash"})
    assert await search(database, "flash") == sorted([stored["faint"], stored["empty"]])
    assert len(await rows(database, "SELECT uuid FROM message_ts")) == len(TEXTS) - 1


async def test_the_longest_texts_of_any_words_can_be_indexed(
    database: Database, stored: dict[str, UUID]
) -> None:
    most = limits_archive.TEXT_MAX_CHARACTERS
    different = " ".join(chr(0x10400 + n // 1000) + chr(0x4E00 + n % 1000) for n in range(most // 3))
    hosts = " ".join(f"a{n}.b/c-{n}" for n in range(most // 10))
    kinds = [
        "\N{DESERET SMALL LETTER LONG I}" * most,
        "x" * most,
        different[:most],
        hosts[:most],
        "- " * most,
    ]
    for text in kinds:
        await index(database, {stored["empty"]: f"needle {text}"[:most]})
        assert await search(database, "needle") == [stored["empty"]]


PIECES = [
    "cat",
    "dog",
    "rat",
    "or",
    "OR",
    "orb",
    "-",
    '"',
    " ",
    "  ",
    "or-",
    "|",
    ":",
    "!",
    "&",
    "(",
    "_",
    "'",
]
CORPUS = [
    "",
    "cat",
    "dog",
    "rat or",
    "cat dog",
    "dog cat",
    "cat orb rat",
    "or cat",
    "rat dog cat or",
    "orb",
]


@pytest.mark.postgres
async def test_searches_are_read_as_postgresql_reads_them(postgres_dsn: str, tmp_path: Path) -> None:
    """Thousands of strange searches over the same texts, with a dictionary that knows no stop words."""
    made = ["".join(random.choices(PIECES, k=random.randint(1, 9))) for _ in range(2000)]  # noqa: S311
    # A word with a hyphen is one word more to PostgreSQL, which the texts would have to hold.
    searches = [words for words in made if not re.search(r"\w-\w", words)]
    theirs = await found_by_postgres(postgres_dsn, searches)
    ours = await found_by_sqlite(tmp_path, searches)
    different = [(words, a, b) for words, a, b in zip(searches, ours, theirs, strict=True) if a != b]
    assert different == []


async def found_by_postgres(dsn: str, searches: Sequence[str]) -> list[list[int]]:
    """Give the places in the corpus each search finds."""
    connection = await asyncpg.connect(dsn)
    query = """
        SELECT coalesce(array_agg(n ORDER BY n) FILTER (WHERE
            to_tsvector('simple', text) @@ websearch_to_tsquery('simple', words)), '{}')
        FROM unnest($1::text[]) WITH ORDINALITY AS searches (words, number),
            unnest($2::text[]) WITH ORDINALITY AS corpus (text, n)
        GROUP BY number ORDER BY number
    """
    try:
        return [found for (found,) in await connection.fetch(query, searches, CORPUS)]
    finally:
        await connection.close()


async def found_by_sqlite(folder: Path, searches: Sequence[str]) -> list[list[int]]:
    """Give the same, found by our condition."""
    database = Database(f"sqlite://{folder}/search.sqlite", folder)
    await database.open()
    uuids = [UUID(int=n) for n in range(len(CORPUS))]
    columns = "uuid, topic, timestamp, size, key, bucket, crc32, is_client_uuid, public, direct_upload"
    values = "'t', 0, 0, '', '', 0, 0, 0, 0, 0"
    statement = f"INSERT INTO messages ({columns}, message_crc32) VALUES "  # noqa: S608 - ours
    await execute(database, [statement + f"('{uuid}', {values})" for uuid in uuids])
    await index(database, dict(zip(uuids, CORPUS, strict=True)))
    try:
        return [[uuid.int + 1 for uuid in await search(database, words)] for words in searches]
    finally:
        await database.close()

"""Placeholders of messages too large for their topics: found by clients, the same each time."""

from __future__ import annotations

import uuid

import msgspec

from pipeline.archive.placeholder import announcement, placeholder

URL = "https://archive.example.org/api/archive"
UUID = uuid.UUID("01234567-89ab-4cde-8f01-23456789abcd")


def test_a_placeholder_leads_to_its_message() -> None:
    made = placeholder(URL, UUID)
    assert msgspec.json.decode(made.value) == {"url": f"{URL}/msg/{UUID}"}
    assert [name for name, _ in made.headers] == ["_id", "_format"]
    assert dict(made.headers)["_format"] == b"external"
    assert placeholder(f"{URL}/", UUID) == made


def test_a_placeholder_is_no_message_but_itself() -> None:
    """Its id is not that of the message, or the archive would take one for the other."""
    own = dict(placeholder(URL, UUID).headers)["_id"]
    assert len(own) == 16
    assert own != UUID.bytes
    assert own != dict(placeholder(URL, uuid.uuid4()).headers)["_id"]


def test_a_placeholder_of_a_test_is_a_test() -> None:
    made = placeholder(URL, UUID, test=True)
    assert [name for name, _ in made.headers] == ["_id", "_test", "_format"]
    assert dict(made.headers)["_test"] == b"true"


def test_an_announcement_names_the_address_without_a_slash_at_its_end() -> None:
    for url in (URL, f"{URL}/"):
        assert msgspec.json.decode(announcement(url)) == {"LargeMessageUploadEndpoint": URL}

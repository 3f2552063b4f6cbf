"""The setting `index`: which URL chooses which index, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingError
from pipeline.index.location import index_at
from pipeline.index.names import Layout
from pipeline.index.opensearch import OpenSearchIndex
from pipeline.index.sqlite import SqliteIndex

LAYOUT = Layout("dev01")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:", "/data/index.sqlite"),
        ("sqlite:///elsewhere/i.sqlite", "/elsewhere/i.sqlite"),
        ("sqlite:///with%20space/i", "/with space/i"),
    ],
)
def test_sqlite_urls_name_a_file(url: str, path: str) -> None:
    index = index_at(url, data_folder=Path("/data"), layout=LAYOUT)
    assert isinstance(index, SqliteIndex)
    assert index.path == Path(path)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("opensearch+http://host:9201", "http://host:9201"),
        ("opensearch+http://host", "http://host:9200"),
        ("opensearch+https://user:p%40ss@host/", "https://host:443"),
        ("opensearch+http://[::1]:9200", "http://[::1]:9200"),
    ],
)
def test_opensearch_urls_name_a_server(url: str, address: str) -> None:
    index = index_at(url, data_folder=Path("/data"), layout=LAYOUT)
    assert isinstance(index, OpenSearchIndex)
    assert index.url == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "opensearch://host:9200",
        "http://host:9200",
        "opensearch+ftp://host",
        "opensearch+http://",
        "opensearch+http://host:port",
        "opensearch+http://host:9200/path",
        "opensearch+http://host:9200?x=1",
        "opensearch+http://user:secret@[bad",
        "sqlite:relative",
        "sqlite://relative/x",
        "sqlite:///folder/",
        "postgresql://user:secret@host/x",
    ],
)
def test_other_urls_are_refused_without_telling_a_password(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        index_at(url, data_folder=Path("/data"), layout=LAYOUT)
    assert "allowed" in str(caught.value)
    assert "secret" not in str(caught.value)

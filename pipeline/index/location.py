"""From the setting `index` to an index: the URL chooses the implementation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipeline.errors import SettingError
from pipeline.index.names import Layout
from pipeline.index.port import Index

if TYPE_CHECKING:
    from pipeline.index.opensearch_calls import Connection
    from pipeline.settings import Settings

ALLOWED = "sqlite:, sqlite:///folder/file, opensearch+http://host:port or opensearch+https://user:password@host:port"
_SCHEME = "opensearch+"


def make_index(settings: Settings) -> Index:
    """Make the index the settings name; nothing is opened yet.

    Raises:
        SettingError: The URL is not one of the allowed forms.
    """
    layout = Layout(
        partition=settings.search.partition,
        shards=settings.search.shards,
        replicas=settings.search.replicas,
    )
    return index_at(settings.index, data_folder=settings.data_folder, layout=layout)


def index_at(url: str, *, data_folder: Path, layout: Layout, verify_certificates: bool = True) -> Index:
    """Make the index a URL names; nothing is opened yet.

    Args:
        url: One of the forms of `ALLOWED`.
        data_folder: Where the file of ``sqlite:`` lies.
        layout: Names and sizes of the indices in OpenSearch.
        verify_certificates: Whether an https server must prove who it is.

    Raises:
        SettingError: The URL is not one of the allowed forms.
    """
    if url.startswith("sqlite:"):
        from pipeline.index.sqlite import SqliteIndex

        return SqliteIndex(_file(url, data_folder))
    if url.startswith(_SCHEME):
        from pipeline.index.opensearch import OpenSearchIndex

        return OpenSearchIndex(_connection(url, verify_certificates=verify_certificates), layout)
    raise SettingError(f"setting index = {_hidden(url)!r}", f"allowed: {ALLOWED}")


def _file(url: str, data_folder: Path) -> Path:
    path = unquote(url.removeprefix("sqlite:").removeprefix("//"))
    if not path:
        return data_folder / "index.sqlite"
    if not path.startswith("/") or path.endswith("/"):
        raise SettingError(f"setting index = {url!r}", f"allowed: {ALLOWED}")
    return Path(path)


def _connection(url: str, *, verify_certificates: bool) -> Connection:
    from pipeline.index.opensearch_calls import Connection

    wrong = SettingError(f"setting index = {_hidden(url)!r}", f"allowed: {ALLOWED}")
    try:
        parts = urlsplit(url.removeprefix(_SCHEME))
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in ("http", "https") or not host or parts.path.strip("/") or parts.query:
        raise wrong
    name = f"[{host}]" if ":" in host else host
    return Connection(
        url=f"{parts.scheme}://{name}:{port or (443 if parts.scheme == 'https' else 9200)}",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        verify_certificates=verify_certificates,
    )


def _hidden(url: str) -> str:
    """Return a URL without what stands before its @, which may be a password."""
    scheme, found, rest = url.partition("//")
    return f"{scheme}{found}…@{rest.rpartition('@')[2]}" if "@" in rest else url

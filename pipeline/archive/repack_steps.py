"""The steps of repacking, each of which may be repeated: objects first, then rows, then what is left over."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import batched
from typing import NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits
from pipeline.archive import lookup, pack_manifests
from pipeline.archive.archive import Archive
from pipeline.archive.keys import archive_key
from pipeline.archive.lookup import ArchivedRow
from pipeline.archive.pack_manifests import Manifest, Written
from pipeline.archive.packs import documents
from pipeline.archive.rows import Row, found_row
from pipeline.database.tables import archive_packs, messages
from pipeline.errors import Conflict, Damaged, NotFound
from pipeline.objects.port import ObjectStore
from pipeline.objects.versions import erase

"""What lies between the hub's streams and the object store, by the settings `streams.*`.

From inside: the store, then the encodings, then the cache. (The reference has its cache inside; its
memory then holds encoded bytes, which every reader decodes anew. Nobody else can tell.)
"""

from __future__ import annotations

from pathlib import Path

from pipeline import limits
from pipeline.clock import Clock
from pipeline.objects.port import ObjectStore
from pipeline.settings import StreamsSettings


def layered(store: ObjectStore, settings: StreamsSettings, *, spool: Path, clock: Clock) -> ObjectStore:
    """Return the store with the layers the settings ask for; the store itself when they ask for none.

    Args:
        store: The store as it is.
        settings: Encodings and cache.
        spool: Folder for local copies of encoded streams.
        clock: For the age of what is in the cache.
    """
    if (settings.aes, settings.xor) != ("off", "off"):
        from pipeline.objects.encoded import EncodedStore
        from pipeline.objects.forms import readable_forms

        key = settings.aes_key.get_secret_value().encode()
        store = EncodedStore(store, readable_forms(aes=settings.aes, xor=settings.xor), spool, aes_key=key)
    if settings.cache_bytes >= limits.CACHE_MIN_BYTES:
        from pipeline.objects.cached import CachedStore

        store = CachedStore(
            store, cache_bytes=settings.cache_bytes, keep_seconds=settings.cache_seconds, clock=clock
        )
    return store

"""Age-off of streams by source: their bytes go one day after the expiry of the source they came with.

Contract: dispatcher section 18. In a bucket of S3 the server does it, by rules that are written at start;
in other stores they are looked for once a day. Only sources configured with an expiry lose anything.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import structlog

from pipeline import limits
from pipeline.app import Parts
from pipeline.errors import HeadraceError, SettingError
from pipeline.objects import keys
from pipeline.objects.location import s3_config
from pipeline.objects.port import ObjectStore
from pipeline.objects.s3_rules import BucketRules

log = structlog.get_logger(__name__)

_DAY_SECONDS = 24 * 3600


def kept_days(parts: Parts) -> dict[str, int | None]:
    """Return how many days the streams of each configured source are kept; None is for ever.

    Raises:
        SettingError: A source with an expiry is named like the place of other objects, which would go too.
    """
    days = {
        name: None if source.expiry_seconds is None else 1 + source.expiry_seconds // _DAY_SECONDS
        for name, source in parts.sources.items()
    }
    others = {parts.settings.archive.prefix.partition("/")[0], keys.PARKED}
    for name in others & {name for name, after in days.items() if after}:
        raise SettingError(
            f"setting events.sources.{name}.expire_events_after",
            f"objects that are no streams lie below {name}/ too, and would go with them",
            "name the source otherwise, or set streams.age_off to off",
        )
    return days


@asynccontextmanager
async def aging(parts: Parts) -> AsyncIterator[None]:
    """Do what the setting `streams.age_off` says: once for a bucket, else while the block runs.

    Raises:
        SettingError: It cannot be done with these settings.
        Unavailable: The bucket's rules cannot be read or written.
    """
    mode = parts.settings.streams.age_off
    days = kept_days(parts) if mode == "on" else dict.fromkeys(parts.sources)
    sweeping = None
    if mode != "off" and parts.settings.objects.startswith("s3"):
        await _write_rules(parts, days)
    elif mode == "on":
        sweeping = asyncio.create_task(_keep_sweeping(parts, days))
    try:
        yield
    finally:
        if sweeping is not None:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping


async def _write_rules(parts: Parts, days: Mapping[str, int | None]) -> None:
    rules = BucketRules(s3_config(parts.settings.objects))
    try:
        changed = await rules.expire(days)
    finally:
        await rules.close()
    if changed:
        log.info("changed life-cycle rules of the bucket", rules=changed)


async def _keep_sweeping(parts: Parts, days: Mapping[str, int | None]) -> None:
    while True:
        try:
            await sweep(parts.objects, days, parts.clock.now())
        except HeadraceError as error:
            log.warning("streams that are too old stay for another day", reason=str(error))
        await parts.clock.sleep(limits.AGE_OFF_SECONDS)


async def sweep(store: ObjectStore, days: Mapping[str, int | None], now: dt.datetime) -> int:
    """Delete the streams that have been stored for longer than their source keeps them; say how many.

    Looks at keys of streams only, in whatever form they are stored, and lets the store compare the time
    again when it deletes: what was stored anew meanwhile stays.
    """
    removed = 0
    for source, after in days.items():
        if after:
            before = now - dt.timedelta(days=after)
            there = removed
            async for stat in store.list(f"{source}/"):
                if keys.is_stored_stream(stat.key) and stat.modified < before:
                    removed += await store.delete(stat.key, older_than=before)
            if removed > there:
                log.info("streams aged off", source=source, streams=removed - there)
    return removed

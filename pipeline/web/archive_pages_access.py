"""What of the archive a page shows: what everybody may read.

Pages know nobody: figures and gaps are shown of topics the policy calls publicly readable, lists and
messages are shown when the archive holds them as public, as those without a credential get them below
`/api/archive` (archive contract, section 17.1).
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from pipeline.archive.lookup import ArchivedRow
from pipeline.errors import NotFound
from pipeline.web.context import archive_policy_of


async def readable_topics(request: web.Request) -> Callable[[str], bool]:
    """Give what says of a topic whether its figures may be shown, by the policy as it is now."""
    policy = archive_policy_of(request)
    await policy.fresh_rule("", 0)
    return lambda topic: policy.rule(topic).publicly_readable


async def check_topic(request: web.Request, topic: str) -> None:
    """Refuse a topic not everybody may read as if there were none.

    Raises:
        NotFound: It may not be read.
    """
    if not (await readable_topics(request))(topic):
        raise no_topic(topic)


def no_topic(topic: str) -> NotFound:
    """Make the error of a topic that is not there, or not for everybody."""
    return NotFound(
        f"show topic {topic[:100]}",
        "the archive has no public messages of it",
        "others are read over HTTP with a credential: /api/archive",
    )


def check_message(row: ArchivedRow | None, uuid: str) -> ArchivedRow:
    """Give a row everybody may read.

    Raises:
        NotFound: There is none, or it is not public.
    """
    if row is None or not row.public:
        raise NotFound(
            f"show message {uuid[:100]}",
            "the archive has no public message of that id",
            "others are read over HTTP with a credential: /api/archive",
        )
    return row

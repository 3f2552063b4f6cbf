"""Names of the dispatcher's settings that mean nothing here, each with what takes its place.

The keys are regular expressions over whole names; the first that fits counts. A name that gets a setting
of ours moves to `pipeline.settings_aliases.ALIASES`. Contract: dispatcher section 19.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_LOG_SIZES = "the log sizes its batches, buffers and waits itself"
_S3_CONNECTION = "the connections to S3 are made by another library, with limits of its own"

UNUSED: Final[Mapping[str, str]] = {
    "DP__LOG_PATH": "logs go to standard error; let the service manager keep them",
    "DP__STREAMS__AZURE__.*": "objects are kept in a folder or on an S3 server; see the setting objects",
    "DP__STREAMS__CACHE__SHARDS": "the cache is one",
    "DP__STREAMS__FCACHE__PATH": "uploads are spooled in the data folder; see the setting data",
    "DP__EVENTS__KAFKA__CONNECT_RETRIES": "a part that is down is waited for, however long",
    "DP__EVENTS__KAFKA__CONSUMER_GROUP_RETENTION_DAYS": (
        "how long offsets are kept is a setting of the brokers, offsets.retention.minutes"
    ),
    "DP__EVENTS__KAFKA__MESSAGE_MAX_BYTES": "an event may have 3 MiB",
    "DP__EVENTS__KAFKA__(POLL_WAIT|CONSUMER_(FETCH|QUEUE)|PRODUCER|NETWORK)_.*": _LOG_SIZES,
    "DP__EVENTS__ENABLE_EXTENDED_KAFKA_METRICS": "/metrics has what is known of the log",
    "DP__EVENTS__REDIS__.*": "no Redis is needed: state is in tables, kept in the log",
    "DP__EVENTS__MAX_CONSUMED_EVENTS_PER_CONSUMER": "nothing ever used it",
    "DP__EVENTS__LOST_TASKS_BULK_CREATE_LIMIT": "finished tasks leave their table at once",
    "DP__EVENTS__OLD_CONSUMER_GROUP_.*": "when unused consumers are let go is no setting",
    "DP__EVENTS__REPROCESS__CONSUMER_GROUP": "positions are kept in the group <prefix>-reprocess-earliest",
    "DP__EVENTS__REPROCESS__MAX_NUMBER_OF_EMPTY_POLLS": "a topic is read to the end it has",
    "BED__TRANSPORT__.*": _S3_CONNECTION,
    "BED__S3_LIST__.*": _S3_CONNECTION,
}

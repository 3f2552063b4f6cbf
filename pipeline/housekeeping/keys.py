"""Every key of the archive's configuration: where it stands, what it is, and its names in both generations.

A key stands in stanzas of one kind. The second generation of the archive knows the same setting by another
name (`flat`): as a key of a flat file, as an option, and in capitals in the environment. Passwords have no
key: they come from the environment alone. Contract: archive section 14.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Kind = Literal["log", "database", "source", "store", "api"]
Value = str | int | bool | tuple[str, ...]
Form = Literal["text", "number", "flag", "names", "text or flag"]

ANYWHERE: Final = ("region", "loglevel")
"""Keys every stanza may have."""


class Key(NamedTuple):
    """One key: its name in stanzas, the kind of stanza it stands in, its form, and what it is when absent.

    `flat` is its name in the second generation, empty when there is none; `allowed` the values it may have,
    empty when any; `environment` says whether `flat` in capitals is read from the environment.
    """

    name: str
    kind: Kind
    meaning: str
    default: Value = ""
    form: Form = "text"
    flat: str = ""
    allowed: tuple[str, ...] = ()
    environment: bool = True


LOG_FORMAT: Final = "%(asctime)s:%(filename)s:%(levelname)s:%(message)s"

_LOG: Final = (
    Key("log-type", "log", "says where the log goes, for people", "log-tty"),
    Key("filename", "log", "log file instead of standard error"),
    Key("level", "log", "DEBUG, INFO, WARNING or ERROR", "DEBUG", flat="log-level"),
    Key("format", "log", "a format of Python's logging, console, or json", LOG_FORMAT, flat="log-format"),
)

_DATABASE: Final = (
    Key(
        "db-type",
        "database",
        "kind of database",
        "mock",
        flat="db-type",
        allowed=("mock", "local", "aws", "sql", "sqlite"),
    ),
    Key("db-name", "database", "database (sql) or RDS instance (aws)", flat="db-name"),
    Key("db-secret-name", "database", "AWS secret with the password", flat="db-aws-secret-name"),
    Key("db-aws-region", "database", "region of the RDS instance", flat="db-aws-region"),
    Key("db-host", "database", "host of the server (sql)", "localhost", flat="db-host"),
    Key("db-port", "database", "its port (sql)", 5432, "number", flat="db-port"),
    Key("db-username", "database", "role to log in as (sql)", flat="db-username"),
    Key("db-schema", "database", "schema the tables are in, when not the server's default"),
    Key("db-table", "database", "name of the table; always messages", "messages", flat="db-table"),
    Key("db-pool-size", "database", "read, without effect: connections are managed", 16, "number"),
    Key("db-log-frequency", "database", "log each n-th row", 100, "number", flat="db-log-frequency"),
    Key("db-path", "database", "file (sqlite)"),
)

_STORE: Final = (
    Key(
        "store-type",
        "store",
        "kind of object store",
        "mock",
        flat="store-type",
        allowed=("mock", "S3", "local"),
    ),
    Key("store-primary-bucket", "store", "bucket objects go to", flat="store-primary-bucket"),
    Key("store-backup-bucket", "store", "bucket of the copies", flat="store-backup-bucket"),
    Key("store-log-every", "store", "log each n-th object", 100, "number", flat="store-log-every"),
    Key("store-endpoint-url", "store", "S3 server that is not AWS", flat="store-endpoint-url"),
    Key("store-region-name", "store", "its region", flat="store-region-name"),
    Key(
        "store-backup-mode",
        "store",
        "who fills the backup bucket",
        "replicate",
        allowed=("none", "replicate", "copy"),
    ),
    Key("store-path", "store", "folder objects go to (local)"),
    Key("protected", "store", "commands that delete refuse to", default=False, form="flag"),
)

_SOURCE: Final = (
    Key(
        "hop-type",
        "source",
        "kind of source",
        "mock",
        flat="consumer-type",
        allowed=("mock", "hop", "kcat", "local"),
    ),
    Key("hop-hostname", "source", "host of the broker", "localhost", flat="kafka-hostname"),
    Key("hop-port", "source", "its port", 9092, "number", flat="kafka-port"),
    Key("hop-username", "source", "user to log in as", flat="kafka-username"),
    Key(
        "hop-groupname",
        "source",
        "consumer group, after the user's name",
        "archive",
        flat="kafka-groupname",
    ),
    Key("hop-protocol", "source", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
    Key("hop-mechanism", "source", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
    Key("hop-ca-file", "source", "authorities that signed the broker, PEM"),
    Key("hop-aws-secret-name", "source", "AWS secret with the login", flat="kafka-aws-secret-name"),
    Key("hop-aws-secret-region", "source", "region of that secret", flat="kafka-aws-secret-region"),
    Key(
        "hop-local-auth",
        "source",
        "file with logins; true: hop/auth.toml of the user",
        form="text or flag",
        flat="kafka-local-auth",
    ),
    Key(
        "hop-until-eos",
        "source",
        "stop where all partitions end",
        default=False,
        form="flag",
        flat="kafka-until-eos",
        environment=False,
    ),
    Key(
        "hop-vetoed-topics",
        "source",
        "topics never archived, globs allowed",
        ("sys.heartbeat", "sys.heartbeat-cit", "__consumer_offsets"),
        "names",
        flat="kafka-vetoed-topics",
    ),
    Key("hop-test-topic", "source", "topic of test data"),
    Key(
        "hop-topic-refresh-interval-seconds",
        "source",
        "time between two looks for topics",
        300,
        "number",
        flat="kafka-topic-refresh-interval",
    ),
    Key("hop-test-max-messages", "source", "stop after so many messages; 0: never", 0, "number"),
    Key("topic-policy", "source", "all, file or http", allowed=("", "all", "file", "http")),
    Key("topic-policy-url", "source", "answers the list of topics", flat="hopauth-api-url"),
    Key("topic-policy-file", "source", "file with the list of topics"),
    Key("hopauth-username", "source", "user asked for at topic-policy-url", flat="hopauth-username"),
    Key(
        "hopauth-local-auth",
        "source",
        "file with that login; true: hop/auth.toml of the user",
        form="text or flag",
        flat="hopauth-local-auth",
    ),
    Key("hopauth-aws-secret-name", "source", "AWS secret with it", flat="hopauth-aws-secret-name"),
    Key("hopauth-aws-secret-region", "source", "region of that secret", flat="hopauth-aws-secret-region"),
    Key("dedupe", "source", "exact or upstream", allowed=("", "exact", "upstream")),
    Key("archive-concurrency", "source", "objects on their way at once", 0, "number"),
    Key("archive-test-messages", "source", "keep messages with a header _test", default=False, form="flag"),
    Key("retry-limit", "source", "tries before a message is parked; 0: never", 0, "number"),
    Key("max-object-bytes", "source", "largest object; larger messages are parked", 0, "number"),
    Key("liveness-file", "source", "rewritten at each refresh", flat="liveness-file"),
    Key("cluster", "source", "label of the cluster in identities"),
    Key(
        "text-index-message-size-limit",
        "source",
        "text of larger messages is not searched",
        0,
        "number",
        flat="text-index-message-size-limit",
    ),
    Key(
        "text-index-size-limit",
        "source",
        "characters of text kept for search",
        0,
        "number",
        flat="text-index-size-limit",
    ),
)

_API: Final = (
    Key(
        "read-only",
        "api",
        "nothing is archived or deleted",
        default=False,
        form="flag",
        flat="read-only",
    ),
    Key("cors-origins", "api", "web pages that may read the archive", (), "names"),
    Key("cors-origin-regex", "api", "and those that match this"),
    Key("listen", "api", "host:port of the HTTP surface"),
    Key("external-url", "api", "under which clients reach the archive"),
)

KEYS: Final[Mapping[str, Key]] = {key.name: key for key in (*_LOG, *_DATABASE, *_STORE, *_SOURCE, *_API)}
"""Every key by its name in stanzas."""

FLAT: Final[Mapping[str, Key]] = {key.flat: key for key in KEYS.values() if key.flat}
"""Those the second generation has, by its name."""

SERVERS: Final[Mapping[Kind, tuple[str, str, str]]] = {
    "database": ("db-type", "sql", "db-host"),
    "source": ("hop-type", "hop", "hop-hostname"),
    "store": ("store-type", "S3", "store-primary-bucket"),
}
"""By kind: the key of its type, and the type meant by who names only the server under the third key."""

"""Settings: one typed tree from the shipped file, the user's file, the environment and the command line.

The environment names them ``HEADRACE_…``, or as the dispatcher does (`pipeline.settings_aliases`).
Guarantees that a wrong name or value is refused before anything starts, with its name, the value and what
is allowed, and that the origin of each value can be told. ``conf/headrace.toml`` documents every one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

import conf
from pipeline import limits, limits_archive, settings_aliases
from pipeline.errors import SettingError
from pipeline.events.security_labels import labels_of
from pipeline.sizes import parse_size

PREFIX = "HEADRACE_"
FILE_VARIABLE = "HEADRACE_CONFIG"
SHIPPED_FILE = Path(conf.__file__).parent / "headrace.toml"

_ALLOWED = {
    "log": "embedded:, embedded:///folder or kafka://[user@]host:port[,host:port]",
    "objects": "folder:, folder:///folder, memory:, s3://bucket or s3+http://KEY:SECRET@host:port/bucket",
    "database": "sqlite:, sqlite:///file or postgresql://user:password@host:port/database",
    "index": "sqlite:, sqlite:///file or opensearch+http://host:port",
    "api": "http://host:port, or nothing",
    "web.listen": "host:port",
    "streams.aes_key": "a secret of exactly 24 bytes; nothing, while streams.aes is off",
    "worker.listen": "host:port, or nothing",
    "worker.stats_listen": "host:port, or nothing",
    "hub.advertise": "http://host:port, or nothing",
    "events.prefix": "letters, digits, - and _",
    "search.partition": "lower-case letters, digits, - and _",
    "archive.prefix": "nothing, or path segments each ending in /",
    "archive.backup": "as the setting objects, or nothing",
    "archive.group": "letters, digits, ., - and _, or nothing",
    "archive.source": "kafka://[user@]host:port[,host:port][/topic,topic], or nothing",
    "archive.policy_url": "http://… or https://…, or nothing",
    "archive.external_url": "http://… or https://…, or nothing",
}
"""What a value may look like, where the type alone does not say it."""

Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$")]
Positive = Annotated[int, Field(gt=0)]
_IN_UNITS = BeforeValidator(lambda value: parse_size(value) if isinstance(value, str) else value)
Size = Annotated[int, Field(gt=0), _IN_UNITS]
SizeOrNone = Annotated[int, Field(ge=0), _IN_UNITS]
Seconds = Annotated[float, Field(gt=0)]
TaskError = Literal[
    "error-exception",
    "error-network",
    "error-runner",
    "error-input",
    "error-output",
    "error-timeout",
    "error-out-of-memory",
]
ArchiveLayout = Literal["objects", "packs"]
AgentName = Literal["enrich", "track", "index", "archive", "inject"]
AES_KEY_BYTES = 24


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Section):
    """How to reach Kafka beyond its address."""

    tls: bool = False
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    client_id: str = "headrace"
    session_seconds: Annotated[float, Field(ge=1, le=1800)] = 30.0


class EventsSettings(_Section):
    """Topics and sources (dispatcher contract, section 7)."""

    prefix: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+$")]
    partitions: Positive
    replicas: Positive
    ignore_topic_mismatch: bool
    topics: tuple[dict[str, Any], ...]
    topics_file: str
    sources_file: str
    sources: dict[str, dict[str, Any]]


class WebSettings(_Section):
    """The HTTP surface."""

    listen: Address
    upload_max_bytes: Size


class HubSettings(_Section):
    """What clients of the dispatcher may do (dispatcher contract, section 19)."""

    allow_delete: bool
    advertise: Annotated[str, Field(pattern=r"^(https?://.+)?$")]
    fetch_limit: Annotated[int, Field(gt=0, le=limits.EVENTS_PER_REQUEST)]
    min_wait_seconds: Annotated[float, Field(ge=0, le=limits.HUB_WAIT_MAX_SECONDS)]
    cache_bytes: Size
    default_wait_seconds: Annotated[int, Field(ge=0, le=limits.HUB_WAIT_MAX_SECONDS)]
    dedupe_bytes: SizeOrNone
    dedupe_seconds: Seconds
    replay_bytes: SizeOrNone
    replay_min_runtime_seconds: Annotated[float, Field(ge=0)]
    replay_seconds: Seconds


class LabelGroup(_Section):
    """Labels of one kind; what each may say is for `pipeline.events.security_labels`."""

    options: tuple[dict[str, Any], ...]


class ReleaseSettings(LabelGroup):
    """Groups that something may be released to."""

    prefix: str
    origin: str
    origin_alt_name: str


class LabelSettings(_Section):
    """The security labels."""

    classification: LabelGroup
    caveat: LabelGroup
    releasability: ReleaseSettings
    tlp: LabelGroup


class SecuritySettings(_Section):
    """Security markings (metastore contract, section 12)."""

    labels: LabelSettings
    allow_releasability_priority_gte: int

    @field_validator("labels")
    @classmethod
    def _go_together(cls, labels: LabelSettings) -> LabelSettings:
        try:
            labels_of(labels.model_dump())
        except SettingError as error:
            raise ValueError(str(error)) from None
        return labels


Encoding = Literal["off", "readonly", "enabled"]


class StreamsSettings(_Section):
    """How the hub's streams are stored (dispatcher contract, section 18)."""

    xor: Encoding
    aes: Encoding
    aes_key: SecretStr
    cache_bytes: SizeOrNone
    cache_seconds: Seconds
    age_off: Literal["off", "on", "cleanup"]

    @field_validator("aes_key")
    @classmethod
    def _fits_the_cipher(cls, key: SecretStr, info: ValidationInfo) -> SecretStr:
        size_bytes = len(key.get_secret_value().encode())
        if size_bytes != AES_KEY_BYTES and (size_bytes or info.data.get("aes") != "off"):
            raise ValueError(f"it has {size_bytes} bytes")
        return key


class WorkerSettings(_Section):
    """What a worker runs."""

    agents: Annotated[tuple[AgentName, ...], Field(min_length=1)]
    listen: Address | Literal[""]
    stats_listen: Address | Literal[""]


class ParserSettings(_Section):
    """The parser processes and their limits."""

    processes: Annotated[int, Field(ge=0, le=256)]
    timeout_seconds: Seconds
    memory_bytes: Size
    rules: str
    yara_scan_max_bytes: Size


class TaskSettings(_Section):
    """Work handed to plugins (metastore contract, section 9)."""

    lapse_seconds: Seconds
    retries: Annotated[int, Field(ge=0, le=100)]
    backoff_seconds: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    offer_seconds: Seconds
    scan_interval_seconds: Seconds
    retry_statuses: tuple[TaskError, ...]


class SearchSettings(_Section):
    """The index (metastore contract, section 3)."""

    partition: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    default_security: str
    shards: Positive
    replicas: Annotated[int, Field(ge=0)]


class ArchiveSettings(_Section):
    """Which topics are kept, and how (archive contract, section 14)."""

    source: Annotated[str, Field(pattern=r"^(kafka://.+)?$")]
    group: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]*$")]
    kafka: KafkaSettings
    topics: tuple[str, ...]
    veto: tuple[str, ...]
    refresh_seconds: Seconds
    policy: Literal["all", "file", "http"]
    policy_file: str
    policy_url: Annotated[str, Field(pattern=r"^(https?://.+)?$")]
    policy_username: str
    policy_password: SecretStr
    policy_token: SecretStr
    test_messages: bool
    prefix: Annotated[str, Field(pattern=r"^([a-zA-Z0-9._-]+/)*$")]
    cluster: str
    dedupe: Literal["exact", "upstream"]
    layout: ArchiveLayout
    layouts: dict[str, ArchiveLayout]
    pack_records: Annotated[int, Field(gt=0, le=limits_archive.ARCHIVE_PACK_RECORDS_MAX)]
    pack_bytes: Size
    pack_seconds: Seconds
    backup: Annotated[str, Field(pattern=r"^((folder:|memory:|s3://|s3\+https?://).*)?$")]
    protected: bool
    batch_records: Annotated[int, Field(gt=0, le=10_000)]
    concurrency: Annotated[int, Field(gt=0, le=1_000)]
    object_max_bytes: Annotated[Size, Field(le=2**31 - 1)]
    retry_limit: Annotated[int, Field(ge=0)]
    text_message_max_bytes: Annotated[Size, Field(le=limits_archive.TEXT_PAYLOAD_MAX_BYTES)]
    text_max_characters: Annotated[int, Field(gt=0, le=limits_archive.TEXT_MAX_CHARACTERS)]
    liveness_file: str
    topics_file: str
    read_only: bool
    external_url: Annotated[str, Field(pattern=r"^(https?://.+)?$")]
    cors_origins: tuple[str, ...]
    cors_origin_regex: str


class ReprocessSettings(_Section):
    """What `headrace reprocess` copies unless its options say otherwise (dispatcher section 24)."""

    from_prefix: str
    sources: bool
    system: bool
    include_system: tuple[str, ...]
    deny_topics: tuple[str, ...]
    legacy_json: bool


class LoggingSettings(_Section):
    """What is logged, and in which form."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    format: Literal["console", "json"]


class Settings(BaseSettings):
    """The whole tree. Made by `load`, never changed afterwards."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    data: str
    log: Annotated[str, Field(pattern=r"^(embedded:|kafka://)")]
    objects: Annotated[str, Field(pattern=r"^(folder:|memory:|s3://|s3\+https?://)")]
    database: Annotated[str, Field(pattern=r"^(sqlite:|postgresql://)")]
    index: Annotated[str, Field(pattern=r"^(sqlite:|opensearch\+https?://)")]
    api: Annotated[str, Field(pattern=r"^(https?://.+)?$")]
    plugins: tuple[str, ...]
    kafka: KafkaSettings
    events: EventsSettings
    web: WebSettings
    hub: HubSettings
    security: SecuritySettings
    streams: StreamsSettings
    worker: WorkerSettings
    parser: ParserSettings
    tasks: TaskSettings
    search: SearchSettings
    archive: ArchiveSettings
    reprocess: ReprocessSettings
    logging: LoggingSettings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values as `load` merged them: the environment is one of its layers."""
        del cls, settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @property
    def data_folder(self) -> Path:
        """Where everything is kept that is not on a server; absolute, not created."""
        if self.data:
            return Path(self.data).expanduser().absolute()
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        return Path(base).expanduser().absolute() / "headrace"


class Loaded(_Section):
    """Settings with the origin of each value, by dotted name, and what was given without effect."""

    settings: Settings
    origins: dict[str, str]
    warnings: tuple[str, ...] = ()


def load(
    overrides: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Loaded:
    """Merge the layers and check the result.

    Args:
        overrides: Values of the command line, nested like the file.
        file: The user's file; None takes the one named by ``HEADRACE_CONFIG``, else the usual place.
        environment: Where ``HEADRACE_…`` is looked up, and ``DP__…`` and ``BED__…`` below that.

    Raises:
        SettingError: A file cannot be read, a name is unknown, or a value is not allowed.
    """
    layers: list[tuple[str, dict[str, Any]]] = [(str(SHIPPED_FILE.name), _read(SHIPPED_FILE))]
    chosen = _user_file(file, environment)
    if chosen is not None:
        layers.append((str(chosen), _read(chosen)))
    aliased = settings_aliases.layers(environment)
    layers += aliased.layers
    layers.append(("environment", _from_environment(environment)))
    layers.append(("command line", dict(overrides or {})))
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, values in layers:
        _merge(merged, values)
        origins.update(dict.fromkeys(flatten(values), origin))
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise _explain(error, merged, origins) from None
    return Loaded(settings=settings, origins=origins, warnings=tuple(aliased.warnings))


def flatten(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Give the leaves of a nested mapping by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{above}{name}.")
        else:
            flat[above + name] = value
    return flat


def _user_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    named = file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    if named is not None:
        return named.expanduser()
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    usual = Path(base).expanduser() / "headrace" / "headrace.toml"
    return usual if usual.exists() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"read settings from {path}", error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"read settings from {path}", f"not TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Turn ``HEADRACE_A__B=1`` into ``{"a": {"b": …}}``; lists and tables are written as TOML values."""
    values: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            continue
        put(values, variable.removeprefix(PREFIX).lower().split("__"), value_of(text))
    return values


def put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set the value at a path of names in nested values.

    Raises:
        SettingError: A name on the way was given a value of its own.
    """
    *above, name = path
    for level in above:
        values = values.setdefault(level, {})
        if not isinstance(values, dict):
            raise SettingError(f"setting {'.'.join(path)}", f"{level} is given a value of its own")
    values[name] = value


def value_of(text: str) -> Any:
    """Read ``[…]`` and ``{…}`` as TOML; leave other text to the type of its setting."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def _explain(error: ValidationError, merged: Mapping[str, Any], origins: Mapping[str, str]) -> SettingError:
    """Say the first thing that is wrong: the setting, its value, where it came from, what is allowed."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    flat = flatten(merged)
    known = next((leaf for leaf in flat if (name + ".").startswith(leaf + ".")), name)
    known = next((leaf for leaf in flat if leaf.startswith(name + ".")), known)
    value = "…" if known.endswith(("password", "aes_key", "token")) else repr(flat.get(known))
    where = origins.get(known, "nowhere")
    if first["type"] == "extra_forbidden":
        reason = "there is no such setting"
    elif known in _ALLOWED:
        reason = f"allowed: {_ALLOWED[known]}"
    else:
        reason = first["msg"]
    return SettingError(
        f"setting {name} = {value} (from {where})",
        reason,
        "`headrace config show` lists every setting; conf/headrace.toml explains them",
    )

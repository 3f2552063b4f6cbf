"""Faust apps as Headrace runs them: one per agent, each a consumer group of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import faust
from yarl import URL

from pipeline import limits
from pipeline.errors import HeadraceError, SettingError, Unavailable
from pipeline.log.connection import KafkaConnection, client_arguments
from pipeline.log.port import TopicSpec
from pipeline.log.transport.recovery import TableManager
from pipeline.log.transport.stream import Stream
from pipeline.log.transport.supervisor import Supervisor
from pipeline.log.transport.table import Table

EMBEDDED_SCHEME = "headrace-embedded"
KAFKA_SCHEME = "headrace-kafka"


def embedded_broker(folder: Path) -> str:
    """Return the broker URL of the embedded log in `folder`."""
    return f"{EMBEDDED_SCHEME}://{quote(str(folder.absolute()))}"


def kafka_broker(servers: Sequence[str]) -> str:
    """Return the broker URL of Kafka brokers, each ``host:port``."""
    return f"{KAFKA_SCHEME}://" + ";".join(servers)


class App(faust.App):
    """A Faust app with lean parts. Make it with `create_app`, inside the event loop that runs it.

    It can be started once. When it crashes, make another: what was not acknowledged comes again.
    """

    async def on_first_start(self) -> None:
        """Make the folders Faust wants (called by Faust once)."""
        await asyncio.to_thread(Path(self.conf.tabledir).mkdir, parents=True, exist_ok=True)

    linger_seconds = 0.0
    """Least time between two fetches while few records come."""
    connection: KafkaConnection | None = None
    """How to reach Kafka, for what Faust's driver does not do."""

    async def on_started(self) -> None:
        """Refuse tables that cannot work (called by Faust when recovery is done).

        Raises:
            SettingError: A changelog has fewer partitions than a source topic.
        """
        await super().on_started()
        self._check_partitions()

    def _check_partitions(self) -> None:
        count = self.consumer.topic_partitions
        sources = {topic: count(topic) or 0 for topic in self.topics.acking_topics}
        for table in self.tables.values():
            have = count(table.changelog_topic_name)
            for topic, needed in sources.items():
                if have is not None and have < needed:
                    raise SettingError(
                        f"start table {table.name} of group {self.conf.id}",
                        f"topic {table.changelog_topic_name} has {have} partitions, {topic} has {needed}",
                        "a changelog needs as many partitions as the topics that feed its table",
                    )

    def source(self, *names: str) -> Any:
        """Describe topics an agent reads: raw bytes, never created by Faust."""
        return self.topic(*names, key_type=bytes, value_type=bytes)

    def changelogs(self) -> list[TopicSpec]:
        """Return the topics of the app's tables as they must be, for the topic plan."""
        return [
            TopicSpec(
                name=table.changelog_topic_name,
                partitions=table.partitions or self.conf.topic_partitions,
                replicas=self.conf.topic_replication_factor,
                config={"cleanup.policy": "compact", **table.extra_topic_configs},
            )
            for table in self.tables.values()
        ]

    async def run(
        self, stop: asyncio.Event, before_end: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Start, work until `stop` is set, and stop cleanly.

        `before_end` is called when nothing is handed to agents any more, while acknowledging still counts:
        what an agent has under way settles there.

        Raises:
            HeadraceError: The app could not start, or crashed. It is stopped then, nothing of it is left in
                this process, and nothing unacknowledged was committed.
        """
        starting = asyncio.ensure_future(self.start())
        stopping = asyncio.ensure_future(stop.wait())
        crashing = asyncio.ensure_future(self.wait_until_stopped())
        try:
            await asyncio.wait((starting, stopping, crashing), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await asyncio.wait((stopping, crashing), return_when=asyncio.FIRST_COMPLETED)
                if before_end is not None and not crashing.done():
                    await self._hand_out_no_more()
                    await before_end()
        except HeadraceError:
            raise
        except Exception as error:
            # Drivers raise errors of their own; whoever runs agents knows ours.
            raise Unavailable(f"start the agents of group {self.conf.id}", repr(error)) from error
        finally:
            # The start ends before the stop begins: what it began after that would stay for ever.
            starting.cancel()
            stopping.cancel()
            await asyncio.wait((starting, stopping))
            await self.stop()
            await crashing
        self._raise_crash()

    async def _hand_out_no_more(self) -> None:
        self.consumer.stop_flow()
        await self.agents.stop()

    def give_up(self, reason: HeadraceError) -> None:
        """End `run` with a reason that says everything; Faust's `crash` would log how it came here."""
        self._crash(reason)

    def _raise_crash(self) -> None:
        reason = self.crash_reason
        if isinstance(reason, HeadraceError):
            raise reason
        if reason is not None:
            raise Unavailable(f"run the agents of group {self.conf.id}", repr(reason)) from reason


def create_app(
    group: str,
    broker: str,
    *,
    data_folder: Path,
    partitions: int,
    replicas: int = 1,
    connection: KafkaConnection | None = None,
    web_port: int | None = None,
    linger_seconds: float = 0.0,
    **settings: Any,
) -> App:
    """Make an app; nothing is opened or started yet.

    Args:
        group: Consumer group, and the prefix of the names of changelogs.
        broker: ``headrace-embedded:///folder`` or ``headrace-kafka://host:port[;host:port]``.
        data_folder: Where Faust keeps files of the app; a folder of its own below it is used.
        partitions: Partitions of the source topics, so that changelogs get as many.
        replicas: Replicas of changelogs (Kafka).
        connection: How to reach Kafka; needed for TLS and SASL.
        web_port: Serve Faust's pages (``/``, ``/assignment/``, ``/performance/``, ``/router/``) there, on
            the loopback address; None for no pages.
        linger_seconds: Least time between two fetches while few records come: a sink writes one large batch
            for less than many small ones.
        settings: Any other setting of Faust; wins over the ones made here.
    """
    embedded = URL(broker.split(";", maxsplit=1)[0]).scheme == EMBEDDED_SCHEME
    values: dict[str, Any] = {
        **_common(),
        "broker": broker,
        "broker_credentials": _credentials(connection),
        "broker_commit_interval": 0.2 if embedded else 1.0,
        "datadir": str(data_folder / "faust" / group),
        "topic_partitions": partitions,
        "topic_replication_factor": replicas,
        "web_enabled": web_port is not None,
        "web_stats_enabled": True,
        "web_metrics_enabled": True,
        # Serves the rows themselves to whoever asks.
        "web_tables_enabled": False,
        "web_bind": "127.0.0.1",
        "web_host": "127.0.0.1",
        "web_port": web_port or limits.FAUST_WEB_PORT,
    }
    if connection is not None:
        values["broker_client_id"] = connection.client_id
    app = App(group, **{**values, **settings})
    app.connection = connection
    app.linger_seconds = linger_seconds
    return app


def _credentials(connection: KafkaConnection | None) -> Any:
    """Say in Faust's words how to log in."""
    if connection is None:
        return None
    arguments = client_arguments(connection)
    context = arguments.get("ssl_context")
    if "sasl_mechanism" in arguments:
        return faust.SASLCredentials(
            username=arguments["sasl_plain_username"],
            password=arguments["sasl_plain_password"],
            mechanism=arguments["sasl_mechanism"],
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


def _common() -> dict[str, Any]:
    return {
        "Stream": Stream,
        "Table": Table,
        "TableManager": TableManager,
        "agent_supervisor": Supervisor,
        # Faust would let its own environment variables win over what is given here.
        "env": {},
        "autodiscover": False,
        "key_serializer": "raw",
        "value_serializer": "raw",
        "store": "memory://",
        "table_standby_replicas": 0,
        # Records are held by the intake of each stream; these two queues only carry changelogs.
        "stream_buffer_maxsize": limits.STREAM_BUFFER_RECORDS,
        # Waiting for open records at the stop would wait for agents that were just cancelled.
        "stream_wait_empty": False,
        "topic_disable_leader": True,
        "broker_session_timeout": limits.GROUP_SESSION_SECONDS,
        "broker_heartbeat_interval": limits.GROUP_SESSION_SECONDS / 10,
        "broker_rebalance_timeout": limits.GROUP_REBALANCE_SECONDS,
        "broker_request_timeout": max(limits.LOG_CALL_TIMEOUT_SECONDS, limits.GROUP_SESSION_SECONDS) + 10,
        # An agent may rightly take nothing for hours while its sink is down: the watchdog tells that apart.
        "broker_max_poll_interval": limits.GROUP_POLL_SECONDS,
        "consumer_max_fetch_size": limits.FETCH_PARTITION_BYTES,
        "producer_max_batch_size": limits.PRODUCE_BATCH_BYTES,
        "producer_max_request_size": limits.RECORD_MAX_BYTES + limits.MIB,
        "producer_request_timeout": limits.LOG_CALL_TIMEOUT_SECONDS,
        "worker_redirect_stdouts": False,
    }

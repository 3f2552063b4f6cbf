"""`housekeeping run` and `houseutils` over the real broker, database and store, as processes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.housekeeping import test_data
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import NewRecord, TopicPartition
from tests import processes
from tests.conftest import S3Server
from tests.housekeeping import real
from tests.housekeeping.command import Commands, program

pytestmark = [pytest.mark.kafka, pytest.mark.s3, pytest.mark.postgres]
CHOSEN = ("-D", "local-db", "-S", "local-store")
CASES = len(test_data.cases()) - 1
"""Known test messages that are stored: all but the end marker."""


class Site(NamedTuple):
    """Real servers the two commands know, and a broker with two topics and a test topic."""

    commands: Commands
    log: KafkaLog
    topic: str
    other: str
    test_topic: str
    group: str

    def counts(self, *arguments: str) -> dict[str, int]:
        """Archive until a run ends by itself and return what it did."""
        run = ("run", "-H", "hop-local", *CHOSEN, "--once-stats", *arguments)
        found: dict[str, int] = self.commands.process("housekeeping", *run).json
        return found

    def verified(self) -> str:
        """Compare all rows with their objects and return the last line."""
        return self.commands.process("houseutils", "verify", *CHOSEN, "-a", "--crc").out.splitlines()[-1]

    async def committed(self, topic: str) -> int:
        """Return how far the group has acknowledged a topic of one partition."""
        place = TopicPartition(topic, 0)
        return (await self.log.committed(self.group, [place])).get(place, 0)


@pytest.fixture
async def site(
    commands: Commands, kafka_address: str, postgres_dsn: str, s3_server: S3Server, unique: str
) -> AsyncIterator[Site]:
    names = [f"{unique}.{name}" for name in ("alerts", "other", "test")]
    stanza = real.broker(kafka_address, unique, hop_test_topic=names[2])
    # The broker is shared: everything that is not of this test is vetoed.
    stanza["hop-vetoed-topics"] = [
        f"[!{unique[0]}]*",
        *(f"{unique[:n]}[!{unique[n]}]*" for n in range(1, 13)),
    ]
    commands.stanzas(
        hop_local=stanza,
        local_db=real.DATABASE,
        local_store=real.store(s3_server, unique, store_log_every=1),
    )
    async with (
        real.database(postgres_dsn) as database,
        real.buckets(s3_server, unique),
        real.topics(kafka_address, *names) as log,
    ):
        commands.environment |= {**database, **real.store_environment(s3_server)}
        yield Site(commands, log, names[0], names[1], names[2], unique)


@contextmanager
def archiving(site: Site, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `housekeeping run` until the block is left."""
    log = site.commands.folder / "run.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [program("housekeeping"), "run", "-H", "hop-local", *CHOSEN, "--once-stats", *arguments],
            env=site.commands.environment,
            cwd=site.commands.folder,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


async def test_published_test_data_is_archived_verified_and_cleaned_again(site: Site) -> None:
    """The way of a developer: publish, run up to the end marker, look, clean, and nothing is left."""
    commands = site.commands
    assert (
        f"{site.test_topic}\t750000\tBig Blob"
        in commands.process("houseutils", "publish", "-H", "hop-local").out
    )
    counts = site.counts("-t", "-v")
    assert counts["stored"] == counts["verified"] == CASES
    assert counts["passed_over"] == 1, "the end marker is not stored"
    assert await site.committed(site.test_topic) == CASES + 1, "and acknowledged"
    assert site.verified() == f"0 anomalous of {CASES}"
    assert site.test_topic in commands.process("houseutils", "status", "-D", "local-db").out
    assert site.counts("-t", "-v", "--until-eos")["received"] == 0, "nothing comes twice"

    commands.process("houseutils", "publish", "-H", "hop-local")
    cleaned = commands.process("houseutils", "clean_tests", "-H", "hop-local", *CHOSEN, "-q")
    assert f"acknowledged at the broker: {CASES + 1}" in cleaned.err
    assert site.verified() == "0 anomalous of 0"
    assert site.counts("-t", "--until-eos")["received"] == 0, "the topic was read dry"


async def test_a_run_takes_all_topics_but_the_test_topic_and_ends_where_they_end(site: Site) -> None:
    await site.log.append([*real.records(site.topic, 30), *real.records(site.other, 5)])
    await site.log.append(real.records(site.test_topic, 1))
    counts = site.counts("--until-eos", "-v")
    assert (counts["received"], counts["stored"], counts["verified"]) == (35, 35, 35)
    assert site.verified() == "0 anomalous of 35"
    topics = (site.commands.folder / "topics.log").read_text().split()[-1]
    assert topics == f"{site.topic},{site.other}"


async def test_a_run_that_is_terminated_ends_well_and_the_next_one_goes_on(site: Site) -> None:
    await site.log.append(real.records(site.topic, 20))
    with archiving(site) as process:
        await processes.until(lambda: b"stored 20 objects." in _log(site))
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=processes.PATIENCE_SECONDS)
    assert process.returncode == 0, _log(site).decode()
    assert b'"stored":20' in out
    assert await site.committed(site.topic) == 20
    await site.log.append(real.records(site.topic, 5, first=20))
    assert site.counts("--until-eos")["received"] == 5


async def test_an_interrupt_ends_a_run_as_well_as_a_signal_to_terminate(site: Site) -> None:
    with archiving(site) as process:
        await processes.until(lambda: b"archiving" in _log(site))
        process.send_signal(signal.SIGINT)
        await processes.until(lambda: process.poll() is not None)
    assert process.returncode == 0


async def test_a_run_that_is_killed_leaves_nothing_out_and_nothing_twice(site: Site) -> None:
    await site.log.append(real.records(site.topic, 200))
    # Who is killed counts as a member of its group for so long.
    site.commands.environment["HEADRACE_ARCHIVE__KAFKA__SESSION_SECONDS"] = "6"
    with archiving(site) as process:
        await processes.until(lambda: b"stored 1 objects." in _log(site))
        process.kill()
        await processes.until(lambda: process.poll() is not None)
    site.counts("--until-eos")
    assert site.verified() == "0 anomalous of 200"


async def test_a_test_message_that_is_not_what_was_sent_ends_the_run_with_status_1(site: Site) -> None:
    forged = test_data.Case("many headers", b"something else", (("dog", b"fido"),))
    await site.log.append([forged.record(site.test_topic)])
    run = ("run", "-H", "hop-local", *CHOSEN, "-t", "-v")
    told = site.commands.process("housekeeping", *run, status=1).err
    assert f"compare the test message 'many headers' of {site.test_topic}[0] at 0, payload" in told
    assert await site.committed(site.test_topic) == 0, "what is wrong is not acknowledged"


async def test_without_verification_nobody_compares(site: Site) -> None:
    forged = test_data.Case("many headers", b"something else")
    end = NewRecord(site.test_topic, None, test_data.END)
    await site.log.append([forged.record(site.test_topic), end])
    assert site.counts("-t")["stored"] == 1


async def test_an_end_marker_on_another_topic_is_a_message_like_any_other(site: Site) -> None:
    await site.log.append([NewRecord(site.topic, None, test_data.END)])
    counts = site.counts("--until-eos")
    assert (counts["stored"], counts["passed_over"]) == (1, 0)


async def test_a_run_ends_after_as_many_messages_as_were_wished_for(site: Site) -> None:
    await site.log.append(real.records(site.topic, 3))
    assert site.counts("--max-messages", "3")["stored"] == 3


async def test_options_of_the_second_generation_say_the_same(
    site: Site, kafka_address: str, s3_server: S3Server, tmp_path: Path
) -> None:
    await site.log.append(real.records(site.topic, 4))
    host, _, port = kafka_address.rpartition(":")
    given = site.commands.environment
    flat = tmp_path / "flat.toml"
    flat.write_text(f'kafka-hostname = "{host}"\nkafka_port = {port}\n')
    options = {
        "config-file": str(flat),
        "kafka-groupname": f"{site.group}-2",
        "kafka-vetoed-topics": f"[!{site.topic[0]}]* {site.other} {site.test_topic}",
        "kafka-until-eos": "true",
        "db-type": "sql",
        "db-host": given["POSTGRESQL_HOST"],
        "db-port": given["POSTGRESQL_PORT"],
        "db-name": given["POSTGRESQL_DATABASE"],
        "db-username": given["POSTGRESQL_USERNAME"],
        "store-type": "S3",
        "store-primary-bucket": site.group,
        "store-endpoint-url": s3_server.endpoint,
        "store-region-name": s3_server.region,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    veto = f"[!{site.topic[0]}]*"
    others = [f"{site.topic[:n]}[!{site.topic[n]}]*" for n in range(1, 13)]
    words += ["--kafka-vetoed-topics", " ".join([veto, *others])]
    password = given["POSTGRESQL_PASSWORD"]
    ran = site.commands.process("housekeeping", "run", *words, "--once-stats", DB_PASSWORD=password)
    assert ran.json["stored"] == 4
    assert site.verified() == "0 anomalous of 4"


async def test_archived_messages_are_played_back_and_found_equal(site: Site) -> None:
    await site.log.append(real.records(site.topic, 10))
    site.counts("--until-eos")
    run = (
        "restore",
        "-H",
        "hop-local",
        *CHOSEN,
        "--topic",
        site.topic,
        "--dest-topic",
        site.other,
        "--verify",
    )
    report = site.commands.process("houseutils", *run).json
    assert (report["complete"], report["sent"], report["verified"]["equal"]) == (True, 10, True)
    bounds = await site.log.bounds([TopicPartition(site.other, 0)])
    assert bounds[TopicPartition(site.other, 0)].end == 10


async def test_cleaning_test_data_while_an_archiver_runs_is_refused_at_the_broker(site: Site) -> None:
    site.commands.process("houseutils", "publish", "-H", "hop-local")
    with archiving(site):
        await processes.until(lambda: b"archiving" in _log(site))
        await _joined(site)
        run = ("clean_tests", "-H", "hop-local", *CHOSEN, "-q")
        told = site.commands.process("houseutils", *run, status=1).err
    assert "its running members hold the offsets of the group; stop them first" in told


async def _joined(site: Site) -> None:
    """Return when the archiver acknowledges something, which a member of the group does."""
    await site.log.append(real.records(site.topic, 1))

    async def acknowledged() -> bool:
        return await site.committed(site.topic) == 1

    await processes.until(acknowledged)


def _log(site: Site) -> bytes:
    return (site.commands.folder / "run.log").read_bytes()

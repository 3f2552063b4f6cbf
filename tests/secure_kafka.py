"""A Kafka of our own that lets in only who proves to be somebody: SCRAM-SHA-512, with and without TLS."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "alice", "alice-secret"
START_SECONDS = 120.0
_HOST = "127.0.0.1"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


def software() -> Path | None:
    """Return the folder with Kafka's jars, where the command that starts servers for tests installs it."""
    usual = "/var/cache/pipeline-services" if os.geteuid() == 0 else "~/.cache/pipeline-services"
    cache = Path(os.environ.get("PIPELINE_SERVICES_CACHE") or usual).expanduser()
    return max(cache.glob("kafka-*"), default=None)


class SecureKafka:
    """One broker in a folder, started by `start`.

    `open_address` wants no proof and is for preparing; `plain_address` wants SCRAM; `tls_address` wants it
    over TLS, with a certificate that `ca_file` signed.
    """

    def __init__(self, folder: Path, jars: Path) -> None:
        self._folder = folder
        self._jars = jars
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "kafka.log"
        self.ca_file = folder / "ca.pem"
        ports = _free_ports(4)
        self._controller = f"{_HOST}:{ports[0]}"
        self.open_address = f"{_HOST}:{ports[1]}"
        self.plain_address = f"{_HOST}:{ports[2]}"
        self.tls_address = f"{_HOST}:{ports[3]}"

    def start(self) -> None:
        """Make certificate, user and storage; return when the broker listens."""
        keys = self._folder / "keys.pem"
        _make_certificate(self.ca_file, keys)
        config = self._folder / "server.properties"
        config.write_text(self._properties(keys))
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        words = ("kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(config))
        with self._log.open("ab") as log:
            subprocess.run(
                self._java(*words, "--add-scram", scram), check=True, stdout=log, stderr=log, timeout=60
            )
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(config)), cwd=self._folder, stdout=log, stderr=log
            )
        self._wait()

    def stop(self) -> None:
        """End the broker."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _java(self, *words: str) -> list[str]:
        java = shutil.which("java")
        assert java is not None
        return [java, "-Xmx256m", "-cp", f"{self._jars}:{self._jars}/*", *words]

    def _wait(self) -> None:
        begun = time.monotonic()
        while "Kafka Server started" not in self._log.read_text(errors="replace"):
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text(errors="replace")[-2000:]
            assert time.monotonic() - begun < START_SECONDS
            time.sleep(0.1)

    def _properties(self, keys: Path) -> str:
        listeners = {
            "CONTROLLER": self._controller,
            "OPEN": self.open_address,
            "PLAIN": self.plain_address,
            "TLS": self.tls_address,
        }
        addresses = [f"{name}://{address}" for name, address in listeners.items()]
        protocols = "CONTROLLER:PLAINTEXT,OPEN:PLAINTEXT,PLAIN:SASL_PLAINTEXT,TLS:SASL_SSL"
        lines = [
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@{self._controller}",
            f"listeners={','.join(addresses)}",
            f"advertised.listeners={','.join(addresses[1:])}",
            f"listener.security.protocol.map={protocols}",
            "controller.listener.names=CONTROLLER",
            "inter.broker.listener.name=OPEN",
            "sasl.enabled.mechanisms=SCRAM-SHA-512",
            f"listener.name.plain.scram-sha-512.sasl.jaas.config={_SCRAM}",
            f"listener.name.tls.scram-sha-512.sasl.jaas.config={_SCRAM}",
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={keys}",
            f"log.dirs={self._folder / 'data'}",
            "offsets.topic.replication.factor=1",
            "offsets.topic.num.partitions=1",
            "group.initial.rebalance.delay.ms=0",
            "log.cleaner.dedupe.buffer.size=16777216",
        ]
        return "\n".join(lines) + "\n"


def _make_certificate(ca_file: Path, keys: Path) -> None:
    """Write a certificate for this machine, which vouches for itself, and beside it with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secure kafka")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(_HOST))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    ca_file.write_bytes(certificate)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keys.write_bytes(secret + certificate)


def _free_ports(count: int) -> list[int]:
    with_sockets = [socket.create_server((_HOST, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in with_sockets]
    for each in with_sockets:
        each.close()
    return ports

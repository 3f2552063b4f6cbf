"""The real hop-client in a process of its own: publishes to Kafka, or reads from it; prints JSON.

``python -m tests.web.hop_client publish|read BROKER TOPIC USER PASSWORD SIZE``, or a bearer token in place
of the password when the user is ``token``. The broker asks for no credential, the archive does.
"""

from __future__ import annotations

import base64
import json
import sys
import uuid
from typing import Any

from hop import io, models
from hop.auth import Auth

SEED = b"0123456789abcdef"


class ArchiveOnly(Auth):  # type: ignore[misc]  # the library is untyped
    """A credential the archive gets and the broker does not."""

    def __call__(self) -> dict[str, Any]:
        """Give what the connection to the broker needs: nothing."""
        return {}


class Token(ArchiveOnly):
    """The same, with a bearer token."""

    @property
    def is_scram(self) -> bool:
        """Say that it is none."""
        return False

    @property
    def is_token(self) -> bool:
        """Say that it is one."""
        return True

    @property
    def token(self) -> str:
        """Give the token."""
        return str(self.password)


def _credential(user: str, password: str) -> Auth:
    return Token(user, password) if user == "token" else ArchiveOnly(user, password)


def publish(broker: str, topic: str, auth: Auth, size: int) -> dict[str, Any]:
    """Publish a message of that size, which the client uploads when Kafka does not take it."""
    failures: list[str] = []
    producer = io.Producer([broker], [topic], auth)
    headers = [("file_name", b"large.bin"), ("title", b"A large one")]
    payload = (SEED * (size // len(SEED) + 1))[:size]
    producer.write(
        models.Blob(content=payload),
        headers,
        delivery_callback=lambda error, _message: failures.append(str(error)) if error else None,
    )
    producer.flush()
    producer.close()
    return {"failures": failures}


def read(broker: str, topic: str, auth: Auth, size: int) -> dict[str, Any]:
    """Read the messages of the topic until its end; external ones are downloaded by the client."""
    del size
    failures: list[str] = []
    consumer = io.Consumer(
        f"{topic}-{uuid.uuid4()}",
        [broker],
        [topic],
        auth=auth,
        start_at=io.StartPosition.EARLIEST,
        read_forever=False,
        error_callback=lambda error: failures.append(str(error)),
    )
    found = []
    for each in consumer.read(metadata=True):
        if not isinstance(each, tuple):  # what could not be downloaded
            continue
        message, metadata = each
        content = getattr(message, "content", None)
        found.append(
            {
                "kind": type(message).__name__,
                "size": len(content) if isinstance(content, bytes) else None,
                "whole": isinstance(content, bytes) and content == (SEED * len(content))[: len(content)],
                "headers": [[name, base64.b64encode(value).decode()] for name, value in metadata.headers],
            }
        )
    consumer.close()
    return {"failures": failures, "messages": found}


if __name__ == "__main__":
    what, broker, topic, user, password, size = sys.argv[1:]
    work = {"publish": publish, "read": read}[what]
    print(json.dumps(work(broker, topic, _credential(user, password), int(size))))  # noqa: T201

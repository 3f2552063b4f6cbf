"""What the archive asks AWS: secrets, where a database of RDS is, and its logs.

Credentials come from the usual AWS chain. Every call has a time limit, bounded tries and a metric; what AWS
refuses becomes an error that says what to do. The library costs half a second to load, so it is loaded by
the first call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

from pipeline import limits_archive, outside
from pipeline.errors import HeadraceError, NotFound, SettingError, Unavailable

T = TypeVar("T")

_RENEW: Final = (
    "ResourceNotFoundException",
    "ExpiredToken",
    "ExpiredTokenException",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
)
"""What AWS answers when secrets were made anew, or credentials are old or of another account."""
_REFUSED: Final = ("AccessDenied", "AccessDeniedException")
_WRONG: Final = ("InvalidParameterException", "ValidationException", "InvalidRequestException")
_MISSING: Final = ("DBInstanceNotFound", "DBInstanceNotFoundFault", "DBLogFileNotFoundFault")


class Instance(NamedTuple):
    """Where a database of RDS is, and what its first user and database are called."""

    host: str
    port: int
    username: str
    database: str


async def secret(name: str, region: str) -> str:
    """Return the present text of a secret.

    Raises:
        SettingError: There is no such secret for these credentials, or none are found.
        Unavailable: AWS does not answer.
    """

    async def ask(client: Any) -> str:
        answer = await client.get_secret_value(SecretId=name)
        return str(answer.get("SecretString") or "")

    text = await _call("secretsmanager", region, "get secret", f"read the AWS secret {name}", ask)
    if not text:
        raise SettingError(f"read the AWS secret {name}", "it holds no text")
    return text


async def instance(name: str, region: str) -> Instance:
    """Return where the database instance of that name is.

    Raises:
        NotFound: There is none. SettingError, Unavailable: As `secret`.
    """
    tried = f"find the RDS instance {name}"

    async def ask(client: Any) -> dict[str, Any]:
        answer = await client.describe_db_instances(DBInstanceIdentifier=name)
        found: dict[str, Any] = answer["DBInstances"][0]
        return found

    found = await _call("rds", region, "describe instance", tried, ask)
    endpoint = found.get("Endpoint")
    if not endpoint:
        status = found.get("DBInstanceStatus")
        raise Unavailable(tried, f"it has no address yet, its status is {status}")
    return Instance(
        endpoint["Address"], endpoint["Port"], found["MasterUsername"], found.get("DBName") or "postgres"
    )


async def newest_logs(name: str, region: str, count: int) -> list[tuple[str, str]]:
    """Return name and text of the newest log files of an instance, newest first.

    Of each, AWS gives the last megabyte.

    Raises:
        NotFound: There is no such instance. SettingError, Unavailable: As `secret`.
    """
    tried = f"read the logs of the RDS instance {name}"

    async def ask(client: Any) -> list[tuple[str, str]]:
        pages = client.get_paginator("describe_db_log_files").paginate(DBInstanceIdentifier=name)
        files = [file async for page in pages for file in page["DescribeDBLogFiles"]]
        newest = sorted(files, key=lambda file: file["LastWritten"], reverse=True)[:count]
        texts = []
        for file in newest:
            part = await client.download_db_log_file_portion(
                DBInstanceIdentifier=name, LogFileName=file["LogFileName"]
            )
            texts.append((file["LogFileName"], part.get("LogFileData") or ""))
        return texts

    return await _call("rds", region, "read logs", tried, ask)


async def _call(service: str, region: str, name: str, tried: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    async def attempt() -> T:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        settings = AioConfig(
            connect_timeout=limits_archive.AWS_CONNECT_TIMEOUT_SECONDS,
            read_timeout=limits_archive.AWS_CALL_TIMEOUT_SECONDS,
            retries={"total_max_attempts": 1},  # repeated by pipeline.outside
        )
        try:
            session = get_session()
            async with session.create_client(service, region_name=region, config=settings) as client:
                return await ask(client)
        except (BotoCoreError, ClientError) as error:
            raise _meant(tried, error) from error
        except ResponseParserError as error:
            raise Unavailable(tried, "the answer is not as AWS writes it") from error

    return await outside.call("aws", name, attempt, timeout_seconds=limits_archive.AWS_CALL_TIMEOUT_SECONDS)


def _meant(tried: str, error: Exception) -> HeadraceError:
    from botocore.exceptions import ConnectionError as NotConnected
    from botocore.exceptions import HTTPClientError

    said = getattr(error, "response", {}).get("Error", {})
    code = said.get("Code", "")
    why = f"{code}: {said.get('Message', '')}" if code else str(error)
    if code in _RENEW:
        return SettingError(tried, why, "new credentials are needed: make them again, then try again")
    if code in _REFUSED:
        return SettingError(tried, why, "these AWS credentials have no right to it")
    if code in _MISSING:
        return NotFound(tried, why)
    if code in _WRONG:
        return SettingError(tried, why)
    if code or isinstance(error, HTTPClientError | NotConnected):
        return Unavailable(tried, why, "see whether AWS can be reached")
    # What botocore finds wrong before it asks: no credentials, a bad profile, no such region.
    return SettingError(tried, why, "give AWS credentials: AWS_ACCESS_KEY_ID and the like, or a profile")

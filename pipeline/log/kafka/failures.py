"""Errors of aiokafka in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors

from pipeline.errors import BadInput, Conflict, Damaged, HeadraceError, NotFound, TooLarge, Unavailable

_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordTooLargeError, errors.RecordListTooLargeError)
_REFUSED = (
    errors.InvalidTopicError,
    errors.InvalidPartitionsError,
    errors.InvalidReplicationFactorError,
    errors.InvalidReplicationAssignmentError,
    errors.InvalidConfigurationError,
    errors.InvalidTimestampError,
    errors.InvalidGroupIdError,
    errors.InvalidRequestError,
    errors.PolicyViolationError,
    errors.UnsupportedForMessageFormatError,
)
_LOGIN = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.SaslAuthenticationFailed,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
)
_RUNNING_GROUP = (
    errors.UnknownMemberIdError,
    errors.IllegalGenerationError,
    errors.RebalanceInProgressError,
)
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[HeadraceError], str], ...] = (
    (_TOO_LARGE, TooLarge, "raise max.message.bytes of the topic, or send less"),
    ((errors.UnknownTopicOrPartitionError,), NotFound, "create the topic first"),
    (_REFUSED, BadInput, ""),
    ((errors.CorruptRecordException,), Damaged, "see the brokers' logs"),
    (_RUNNING_GROUP, Conflict, "its running members hold the offsets of the group; stop them first"),
    (_LOGIN, Unavailable, "not allowed: see user, password and the brokers' access lists"),
)


@contextmanager
def translated(tried: str) -> Iterator[None]:
    """Raise our error in place of aiokafka's."""
    try:
        yield
    except errors.KafkaError as error:
        raise translate(tried, error) from error
    except (OSError, errors.ConsumerStoppedError) as error:
        raise Unavailable(tried, str(error) or repr(error), _TODO) from error


def check_code(code: int) -> None:
    """Raise the error of aiokafka a broker's answer stands for; 0 is none."""
    if code:
        error = errors.for_code(code)
        raise error(f"[Error {code}]")


def translate(tried: str, error: Exception) -> HeadraceError:
    """Return our error for one of aiokafka's."""
    why = _reason(error)
    for kinds, ours, todo in _MEANINGS:
        if isinstance(error, kinds):
            return ours(tried, why, todo)
    return Unavailable(tried, why, _TODO)


_TODO = "see whether the brokers are up and reachable, and let us in"


def _reason(error: Exception) -> str:
    text = str(error)
    name = type(error).__name__
    return text if name in text else f"{name}: {text}" if text else name

"""Errors that users see, and the one table from their codes to their classes.

TertuliaError              root
├── InvalidDefinition      an agent, group or other definition is invalid
├── ConfigurationError     an environment variable or option is missing or malformed
├── NotFound               no agent, group, block, key or conversation has this id or name
├── Conflict               another change came first, or an existing row prevents this one
├── CommandRefused         a conversation cannot accept this command
│   ├── ConversationClosed the conversation has ended
│   ├── PendingLimitExceeded  too many messages or changes wait already
│   └── IdTaken            another conversation has the requested id
├── Unavailable            a required server does not answer
│   ├── ApiUnavailable     the REST API does not answer
│   ├── EventsUnavailable  the source of a conversation's events does not answer
│   └── RollingOver        the conversation is between two Temporal runs
├── Unauthorized           the API key is missing or invalid
├── Forbidden              the API key lacks a scope
├── WrongAddress           the configured address is not that of this API version
└── PayloadUnreadable      Temporal holds data encrypted with a key that is not configured

Invariant: `code` is stable and unique. It is the `type` of the application error that crosses Temporal, the `type` of
an HTTP problem, and the key by which clients restore the class. Nothing is decided by the text of an error.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from traceback import extract_tb
from typing import ClassVar


class TertuliaError(Exception):
    """Root of every error whose message is written for users."""

    code: ClassVar[str] = "Error"


class InvalidDefinition(TertuliaError):
    """An agent, group or other definition is invalid; the message names the field."""

    code = "InvalidDefinition"


class ConfigurationError(TertuliaError):
    """A setting is missing or malformed; the message names the environment variable or option."""

    code = "ConfigurationError"


class NotFound(TertuliaError):
    """No agent, group, block, key or conversation has this id or name."""

    code = "NotFound"


class Conflict(TertuliaError):
    """Another change came first, or an existing row prevents this one; nothing has changed."""

    code = "Conflict"


class CommandRefused(TertuliaError):
    """A conversation cannot accept this command; nothing has changed."""

    code = "CommandRefused"


class ConversationClosed(CommandRefused):
    """The conversation has ended: it accepts no message and no change."""

    code = "ConversationClosed"


class PendingLimitExceeded(CommandRefused):
    """Too many messages or changes wait for the next turn boundary; a later try can succeed."""

    code = "TooMuchWaits"


class IdTaken(CommandRefused):
    """Another conversation has the requested id."""

    code = "IdTaken"


class Unavailable(TertuliaError):
    """A required server does not answer. Nothing was accepted; a retry with the same id is safe."""

    code = "Unavailable"


class ApiUnavailable(Unavailable):
    """The REST API does not answer.

    Args:
        message: the text for users.
        reason: a shorter text without advice, for a reader who is already connected.
    """

    code = "ApiUnavailable"

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class EventsUnavailable(Unavailable):
    """The source of a conversation's events does not answer; an event stream reports it and continues later."""

    code = "EventsUnavailable"


class RollingOver(Unavailable):
    """The conversation is between two Temporal runs; a retry within seconds succeeds."""

    code = "RollingOver"


class Unauthorized(TertuliaError):
    """The API key is missing or invalid."""

    code = "Unauthorized"


class Forbidden(TertuliaError):
    """The API key is valid but lacks the scope that the request needs."""

    code = "Forbidden"


class WrongAddress(TertuliaError):
    """The server at the configured address is not this API, or runs another version of it."""

    code = "WrongAddress"


class PayloadUnreadable(TertuliaError):
    """Temporal holds data encrypted with a key that is not configured; with that key, everything continues."""

    code = "PayloadUnreadable"


def _subclasses(root: type[TertuliaError]) -> Iterator[type[TertuliaError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _subclasses(kind)


# Built when this module is imported: subclasses of other modules are not in it.
ERRORS_BY_CODE: Mapping[str, type[TertuliaError]] = {kind.code: kind for kind in _subclasses(TertuliaError)}
"""Every class of this module by its code."""


def error_from_code(code: str | None, message: str, *, default: type[TertuliaError]) -> TertuliaError:
    """Restore an error that crossed Temporal or HTTP; an unknown code gives an instance of `default`."""
    return ERRORS_BY_CODE.get(code or "", default)(message)


ROUTE_NOT_FOUND = "RouteNotFound"
"""The `type` of the HTTP problem for a path that the API does not have; its clients raise `WrongAddress`."""


class ErrorType(StrEnum):
    """The `type` of failed activity attempts: these are retried or recorded, and never reach a caller as such."""

    MODEL_FAILED = "ModelFailed"
    MODEL_REFUSED = "ModelRequestRefused"
    DATABASE_UNAVAILABLE = "DatabaseUnavailable"
    WORKER_DIED = "WorkerDied"


ERROR_TEXT_LIMIT = 500
"""Characters of an error's text that may enter a workflow history."""


def truncate(text: str, limit: int = ERROR_TEXT_LIMIT) -> str:
    """Return `text` on one line, cut to `limit` characters; an ellipsis marks the cut."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: max(limit - 1, 0)] + "…"


def error_location(error: BaseException) -> str:
    """Return the error's class and stack without its text, for logs: the text may hold users' words."""
    frames = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in extract_tb(error.__traceback__)]
    return f"{type(error).__name__} at " + " < ".join(reversed(frames))

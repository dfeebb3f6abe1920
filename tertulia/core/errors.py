"""What can be wrong with what a user asks for.

TertuliaError
├── InvalidDefinition      an agent or group that cannot exist as written
├── NotFound               no agent, group or conversation of that name or id
├── Conflict               someone else was first, or what exists stands in the way
├── CommandRefused         an operator's command that this conversation cannot take
│   ├── ConversationClosed it has ended; nothing more can be posted or changed
│   └── TooMuchWaits       so much waits already that there is no room for more; a moment later there is
├── Unavailable            a server that is needed does not answer (raised by the client)
│   └── EventsUnavailable  the source of a conversation's events does not answer
├── Forbidden              the API key lacks the scope that the request needs
└── PayloadUnreadable      what Temporal holds is encrypted under a key that is not there

`ErrorType` holds the `type` strings of the application errors that cross Temporal; both sides use these constants.
"""

from enum import StrEnum
from traceback import extract_tb


class TertuliaError(Exception):
    """The root of every error that is meant for a user to read."""


class InvalidDefinition(TertuliaError):
    """An agent or a group that cannot exist as written."""


class NotFound(TertuliaError):
    """No agent, group or conversation of that name or id."""


class Conflict(TertuliaError):
    """Someone else was first, or what exists stands in the way; nothing has changed."""


class CommandRefused(TertuliaError):
    """An operator's command that this conversation cannot take; nothing has changed."""


class PendingLimitExceeded(CommandRefused):
    """So much waits for its turn boundary already that there is no room for more; a moment later there is."""


class ConversationClosed(CommandRefused):
    """The conversation has ended: nothing more can be posted or changed."""


class Unavailable(TertuliaError):
    """A server that is needed does not answer. Nothing was accepted; trying again with the same id is safe."""


class EventsUnavailable(Unavailable):
    """The source of a conversation's events does not answer. The event stream reports that too."""


class Forbidden(TertuliaError):
    """The API key is valid and lacks the scope that the request needs."""


class PayloadUnreadable(TertuliaError):
    """What Temporal holds cannot be decrypted with the keys there are; with the right one, all goes on."""


class ErrorType(StrEnum):
    """The `type` of each application error that this project raises across Temporal."""

    COMMAND_REFUSED = "CommandRefused"
    CONVERSATION_CLOSED = "ConversationClosed"
    PENDING_LIMIT = "TooMuchWaits"
    NOT_FOUND = "NotFound"
    INVALID_DEFINITION = "InvalidDefinition"
    CONFLICT = "Conflict"
    ROLLING_OVER = "RollingOver"
    MODEL_FAILED = "ModelFailed"
    MODEL_REFUSED = "ModelRequestRefused"
    DATABASE_UNAVAILABLE = "DatabaseUnavailable"
    WORKER_DIED = "WorkerDied"


ERROR_TEXT_LIMIT = 500
"""Characters of an error's text that may enter a workflow history."""


def truncate(text: str, limit: int = ERROR_TEXT_LIMIT) -> str:
    """`text` on one line, cut to `limit` characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: max(limit - 1, 0)] + "…"


def error_location(error: BaseException) -> str:
    """The error's kind and where it came from, without its words: those may be somebody's."""
    frames = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in extract_tb(error.__traceback__)]
    return f"{type(error).__name__} at " + " < ".join(reversed(frames))

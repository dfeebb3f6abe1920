"""Sending a command as an update, and what each way of failing means to the sender."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from tertulia.core.commands import AnyCommand, Receipt
from tertulia.core.errors import CommandRefused, ConversationClosed, ErrorType, NotFound, Unavailable
from tertulia.store.conversations import find_conversation

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia

UPDATE_TIMEOUT = timedelta(seconds=15)
QUERY_TIMEOUT = timedelta(seconds=5)
QUERY_TRIES = 3
UNANSWERED = "Temporal or its worker does not answer; is the stack, or a `tertulia worker`, running?"
_STUCK = "its last step failed and is tried again: the worker's log, and the history in Temporal, say why"
_ROLLING_OVER_PAUSE = 0.1
_ROLLING_OVER_TRIES = 50

T = TypeVar("T")


async def answered(call: Awaitable[T]) -> T:
    """The call's answer; a server that gives none is `Unavailable`."""
    try:
        return await call
    except RPCError as error:
        raise Unavailable(why_unanswered(error)) from None


def why_unanswered(error: RPCError) -> str:
    """What it means for a caller that Temporal answered with this error."""
    stuck = error.status is RPCStatusCode.FAILED_PRECONDITION and "failed state" in error.message
    return f"the conversation does not answer: {_STUCK}" if stuck else UNANSWERED


async def send_update(client: "Tertulia", conversation_id: str, name: str, command: AnyCommand) -> Receipt:
    """Send `command`, whose id is set, until it is answered.

    Raises:
        CommandRefused: with the conversation's reason.
        ConversationClosed: it has ended.
        NotFound: there is no such conversation, or no such agent.
        Unavailable: no answer; sending it again with the same id is safe.
    """
    try:
        await client.reach_temporal()
    except Unavailable as error:
        raise Unavailable(_not_accepted(command, str(error))) from None
    for _ in range(_ROLLING_OVER_TRIES):
        try:
            return await _send_once(client, conversation_id, name, command)
        except _RollingOver:
            await asyncio.sleep(_ROLLING_OVER_PAUSE)
    raise Unavailable(f"not accepted; send it again with the same id ({command.command_id})")


class _RollingOver(Exception):
    """The conversation is between two runs."""


_KINDS: dict[str, type[Exception]] = {
    ErrorType.CONVERSATION_CLOSED: ConversationClosed,
    ErrorType.NOT_FOUND: NotFound,
    ErrorType.ROLLING_OVER: _RollingOver,
}


async def _send_once(client: "Tertulia", conversation_id: str, name: str, command: AnyCommand) -> Receipt:
    try:
        receipt: Receipt = await client.handle(conversation_id).execute_update(
            name,
            command.model_dump(mode="json", exclude_none=True),
            id=command.command_id,
            result_type=Receipt,
            rpc_timeout=UPDATE_TIMEOUT,
        )
    except WorkflowUpdateFailedError as error:
        raise refusal(error) from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise Unavailable(_not_accepted(command)) from None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise Unavailable(_not_accepted(command)) from None
        raise await _why_not_found(client, conversation_id) from None
    return receipt


def _not_accepted(command: AnyCommand, why: str = UNANSWERED) -> str:
    return f"not accepted: {why} Try again with the same id, --id {command.command_id}: it counts once"


def refusal(error: WorkflowUpdateFailedError) -> Exception:
    """What a conversation has against a command."""
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        return CommandRefused(str(cause))
    return _KINDS.get(cause.type or "", CommandRefused)(cause.message)


async def _why_not_found(client: "Tertulia", conversation_id: str) -> Exception:
    if await client.is_running(conversation_id):
        return _RollingOver()
    try:
        row = await find_conversation(client.database, conversation_id)
    except NotFound as error:
        return error
    return ConversationClosed(f"conversation {conversation_id!r} is closed ({row.stop_reason})")

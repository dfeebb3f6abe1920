"""Send commands to a running conversation as Temporal updates, and map every way an update can fail to an error."""

import asyncio
import uuid
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from tertulia.core.commands import COMMAND_NAMES, AnyCommand, Receipt, with_command_id
from tertulia.core.errors import (
    CommandRefused,
    ConversationClosed,
    NotFound,
    RollingOver,
    TertuliaError,
    Unavailable,
    error_from_code,
)
from tertulia.service.scope import OrganisationScope
from tertulia.store.conversations import find_conversation

UPDATE_TIMEOUT = timedelta(seconds=15)
NO_ANSWER = "Temporal or its worker does not answer; is the stack, or a `tertulia worker`, running?"
_DESCRIBE_TIMEOUT = timedelta(seconds=10)
_TASK_FAILING = (
    "the conversation does not answer: its last workflow task failed and is retried;"
    " the worker's log and the history in Temporal show why"
)
_ROLLING_OVER = "the conversation is between two runs."
_ROLL_OVER_DELAY_SECONDS = 0.1
_ROLL_OVER_ATTEMPTS = 50

T = TypeVar("T")


async def await_answer(call: Awaitable[T]) -> T:
    """Await a call to Temporal.

    Raises:
        Unavailable: Temporal or the worker gave no answer.
    """
    try:
        return await call
    except RPCError as error:
        raise Unavailable(describe_rpc_error(error)) from None


def describe_rpc_error(error: RPCError) -> str:
    """Return one line for an error of Temporal's API."""
    # With this status Temporal refuses queries of a workflow whose task has failed and waits for its retry.
    return _TASK_FAILING if error.status is RPCStatusCode.FAILED_PRECONDITION else NO_ANSWER


async def send_command(scope: OrganisationScope, conversation_id: str, command: AnyCommand) -> Receipt:
    """Send `command` to a conversation and return its receipt, before the command takes effect.

    A command without an id gets one. The same id sent again counts once.

    Raises:
        CommandRefused: the conversation refused the command.
        ConversationClosed: the conversation has ended.
        NotFound: no such conversation or agent.
        Unavailable: no answer; sending the command again with the same id is safe.
    """
    await scope.check_conversation(conversation_id)
    command = with_command_id(command, str(uuid.uuid4()))
    try:
        await scope.connection.reach_temporal()
    except Unavailable as error:
        raise Unavailable(_not_accepted_message(command, str(error))) from None
    for _ in range(_ROLL_OVER_ATTEMPTS):
        try:
            return await _send_once(scope, conversation_id, command)
        except RollingOver:
            await asyncio.sleep(_ROLL_OVER_DELAY_SECONDS)
    raise Unavailable(_not_accepted_message(command, _ROLLING_OVER))


async def _send_once(scope: OrganisationScope, conversation_id: str, command: AnyCommand) -> Receipt:
    try:
        receipt: Receipt = await scope.workflow_handle(conversation_id).execute_update(
            COMMAND_NAMES[type(command)],
            command.model_dump(mode="json", exclude_none=True),
            id=command.command_id,
            result_type=Receipt,
            rpc_timeout=UPDATE_TIMEOUT,
        )
    except WorkflowUpdateFailedError as error:
        raise refusal_of(error) from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise Unavailable(_not_accepted_message(command)) from None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise Unavailable(_not_accepted_message(command)) from None
        raise await _not_found_error(scope, conversation_id) from None
    return receipt


def _not_accepted_message(command: AnyCommand, reason: str = NO_ANSWER) -> str:
    return f"not accepted: {reason} Try again with the same id, --id {command.command_id}: it counts once"


def refusal_of(error: WorkflowUpdateFailedError) -> TertuliaError:
    """Return the error with which the workflow refused an update."""
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        return CommandRefused(str(cause))
    return error_from_code(cause.type, cause.message, default=CommandRefused)


async def is_running(scope: OrganisationScope, conversation_id: str) -> bool:
    """Return whether Temporal has an open workflow for the conversation.

    Raises:
        Unavailable: Temporal does not answer.
    """
    await scope.connection.reach_temporal()
    try:
        description = await scope.workflow_handle(conversation_id).describe(rpc_timeout=_DESCRIBE_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise Unavailable(NO_ANSWER) from None
    return description.status is WorkflowExecutionStatus.RUNNING


async def _not_found_error(scope: OrganisationScope, conversation_id: str) -> TertuliaError:
    if await is_running(scope, conversation_id):
        return RollingOver(_ROLLING_OVER)
    try:
        row = await find_conversation(scope.database, conversation_id, scope.organisation_id)
    except NotFound as error:
        return error
    return ConversationClosed(f"conversation {conversation_id!r} is closed ({row.stop_reason})")

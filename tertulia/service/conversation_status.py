"""The status of a conversation: from its workflow while it runs, from the database once it is closed."""

from datetime import timedelta
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from tertulia.core.errors import EventsUnavailable, Unavailable
from tertulia.core.records import NO_DATABASE, StatusAt
from tertulia.core.state import TurnSummary
from tertulia.core.status import ConversationStatus
from tertulia.service.command_updates import await_answer, describe_rpc_error
from tertulia.service.scope import OrganisationScope
from tertulia.store.conversations import find_conversation
from tertulia.store.events import last_event, number_of_message
from tertulia.temporal.names import RECENT_TURNS, STATUS

_QUERY_TIMEOUT = timedelta(seconds=5)
_QUERY_ATTEMPTS = 3
_NO_ANSWER_STATUS = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)

T = TypeVar("T")


async def read_status(scope: OrganisationScope, conversation_id: str, *, live: bool = False) -> ConversationStatus:
    """Return the conversation's status.

    Args:
        scope: the organisation.
        conversation_id: the conversation.
        live: ask the workflow even if the conversation is closed. By default a closed conversation is read from the
            database, which needs no worker.

    Raises:
        NotFound: no such conversation.
        Unavailable: no answer.
    """
    row = await find_conversation(scope.database, conversation_id, scope.organisation_id)
    if row.final_status is not None and not live:
        return ConversationStatus.model_validate(row.final_status)
    try:
        return await _query(scope, conversation_id, STATUS, ConversationStatus)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise Unavailable(describe_rpc_error(error)) from None
    if row.final_status is None:
        raise Unavailable(f"Temporal does not know {conversation_id!r}, which is open according to the database")
    return ConversationStatus.model_validate(row.final_status)


async def read_status_at(scope: OrganisationScope, conversation_id: str) -> StatusAt:
    """Return the status and the number of the newest event, which is read after the status query returned.

    Raises:
        EventsUnavailable: the database does not answer.
        Unavailable: Temporal or the worker does not answer.
    """
    try:
        status = await read_status(scope, conversation_id)
        return StatusAt(status, await last_event(scope.database, conversation_id))
    except (DBAPIError, TimeoutError):
        raise EventsUnavailable(NO_DATABASE) from None


async def read_recent_turns(scope: OrganisationScope, conversation_id: str) -> list[TurnSummary]:
    """Return the last turns, as the workflow keeps them.

    Raises:
        NotFound: no such conversation.
        Unavailable: no answer.
    """
    await scope.check_conversation(conversation_id)
    return await await_answer(_query(scope, conversation_id, RECENT_TURNS, list[TurnSummary]))


async def read_event_cursor(scope: OrganisationScope, conversation_id: str, *, last: int | None = None) -> int:
    """Return the number of the event after which a reader starts to see the last `last` messages; None = all.

    Raises:
        NotFound: no such conversation.
    """
    row = await find_conversation(scope.database, conversation_id, scope.organisation_id)
    if last is None or last >= row.last_seq:
        return 0
    if last == 0:
        return await last_event(scope.database, conversation_id)
    return await number_of_message(scope.database, conversation_id, row.last_seq - last)


async def _query(scope: OrganisationScope, conversation_id: str, query: str, result_type: type[T]) -> T:
    await scope.connection.reach_temporal()
    handle = scope.workflow_handle(conversation_id)
    # A worker that died a moment ago still owns the sticky queue: the first queries go to it and time out.
    for attempts_left in reversed(range(_QUERY_ATTEMPTS)):
        try:
            answer: T = await handle.query(query, result_type=result_type, rpc_timeout=_QUERY_TIMEOUT)
        except RPCError as error:
            if attempts_left == 0 or error.status not in _NO_ANSWER_STATUS:
                raise
        except WorkflowQueryFailedError as error:
            raise Unavailable(f"the worker cannot answer the query: {error}") from None
        else:
            return answer
    raise AssertionError("the last attempt returns or raises")

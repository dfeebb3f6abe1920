"""Conversations of an organisation: start, fork, read, steer, delete."""

import builtins
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.service import RPCError, RPCStatusCode

from tertulia.core.commands import AnyCommand, PostMessage, Receipt
from tertulia.core.conversations import ConversationFilter, NewConversation, NewFork
from tertulia.core.errors import Conflict, IdTaken, NotFound
from tertulia.core.group import Group
from tertulia.core.ids import CONVERSATION_SUFFIX_ALPHABET, ConversationId, readable_conversation_id
from tertulia.core.paging import Page
from tertulia.core.records import (
    ConversationRow,
    FinishedTurn,
    MemberRow,
    MembershipChange,
    Message,
    StatusAt,
    StreamEvent,
)
from tertulia.core.state import Fork, TurnSummary
from tertulia.core.status import ConversationStatus
from tertulia.service.command_updates import await_answer, send_command
from tertulia.service.conversation_events import has_more_events, read_event_stream
from tertulia.service.conversation_start import start_conversation
from tertulia.service.conversation_status import read_event_cursor, read_recent_turns, read_status, read_status_at
from tertulia.service.scope import OrganisationScope
from tertulia.store.agents import read_agents
from tertulia.store.conversations import (
    count_conversations,
    delete_conversation,
    find_conversation,
    list_conversations,
)
from tertulia.store.definition_rows import not_found_message
from tertulia.store.forks import find_fork_point
from tertulia.store.groups import find_group
from tertulia.store.membership import read_changes, read_members_with_usage
from tertulia.store.notifications import Listener
from tertulia.store.transcript import read_messages
from tertulia.store.turns import read_turns

_ID_ATTEMPTS = 10
_SUFFIX_LENGTH = 5


class ConversationService:
    """Use cases on conversations. Methods that name a conversation raise `NotFound` where the organisation has none."""

    def __init__(self, scope: OrganisationScope) -> None:
        self._scope = scope
        self._database = scope.database
        self._organisation_id = scope.organisation_id

    async def create(self, new: NewConversation) -> ConversationRow:
        """Start a conversation.

        Raises:
            NotFound: no such group.
            CommandRefused: the id is taken, the group is empty, or the message cannot be posted.
            Unavailable: Temporal does not answer.
        """
        group = await find_group(self._database, self._organisation_id, new.group)
        post = PostMessage(text=new.message, sender=new.sender)
        conversation_id = await self._start(
            group,
            new.id,
            post,
            close_after_round=new.close_after_round,
            continue_as_new_after_turns=new.continue_as_new_after_turns,
        )
        return await self.retrieve(conversation_id)

    async def fork(self, source: str, new: NewFork) -> ConversationRow:
        """Start a conversation that shares the first turns of `source`.

        Raises:
            NotFound: the group of `source` was deleted, or there is no such agent.
            InvalidDefinition: `source` has not taken that many turns.
            CommandRefused: the id is taken.
        """
        before = await self.retrieve(source)
        group = await find_group(self._database, self._organisation_id, before.group_id)
        agent_ids = new.agent_ids or ()
        found = {agent.id for agent in await read_agents(self._database, self._organisation_id, agent_ids)}
        if missing := [one for one in agent_ids if one not in found]:
            raise NotFound(not_found_message("agent", missing))
        fork = await find_fork_point(self._database, ConversationId(source), new.turn, agent_ids)
        if new.model is not None:
            group = group.model_copy(update={"settings": group.settings.model_copy(update={"model": new.model})})
        post = PostMessage(text=new.message, sender=new.sender) if new.message is not None else None
        return await self.retrieve(await self._start(group, new.id, post, fork=fork))

    async def retrieve(self, conversation_id: str) -> ConversationRow:
        """Return the conversation's row."""
        return (await find_conversation(self._database, conversation_id, self._organisation_id)).row

    async def list(self, page: Page, filter: ConversationFilter | None = None) -> builtins.list[ConversationRow]:
        """Return one page of the conversations that match `filter`.

        Raises:
            NotFound: no conversation has the id in `page.before` or `page.after`.
        """
        return await list_conversations(self._database, self._organisation_id, page, filter)

    async def count(self, filter: ConversationFilter | None = None) -> int:
        """Return the number of conversations that match `filter`."""
        return await count_conversations(self._database, self._organisation_id, filter)

    async def delete(self, conversation_id: str) -> None:
        """Delete a closed conversation: its transcript and everything recorded of it, and its history in Temporal.

        Raises:
            Conflict: the conversation is open.
        """
        row = await self.retrieve(conversation_id)
        if row.closed_at is None:
            raise Conflict(f"{conversation_id!r} is open: stop it first, then delete it")
        await self._scope.connection.reach_temporal()
        await await_answer(self._delete_history(conversation_id))
        await delete_conversation(self._database, self._organisation_id, conversation_id)

    async def send(self, conversation_id: str, command: AnyCommand) -> Receipt:
        """Send a command and return its receipt, before the command takes effect. See `send_command`."""
        return await send_command(self._scope, conversation_id, command)

    async def status(self, conversation_id: str, *, live: bool = False) -> ConversationStatus:
        """Return the status; a closed conversation's comes from the database unless `live`. See `read_status`."""
        return await read_status(self._scope, conversation_id, live=live)

    async def status_at(self, conversation_id: str) -> StatusAt:
        """Return the status and the number of the newest event. See `read_status_at`."""
        return await read_status_at(self._scope, conversation_id)

    async def recent_turns(self, conversation_id: str) -> builtins.list[TurnSummary]:
        """Return the last turns, as the workflow keeps them."""
        return await read_recent_turns(self._scope, conversation_id)

    async def messages(self, conversation_id: str, *, after: int = 0, limit: int) -> builtins.list[Message]:
        """Return up to `limit` messages with a `seq` greater than `after`, the oldest first."""
        await self._scope.check_conversation(conversation_id)
        return await read_messages(self._database, ConversationId(conversation_id), after_seq=after, limit=limit)

    async def turns(self, conversation_id: str, *, after: int = 0, limit: int) -> builtins.list[FinishedTurn]:
        """Return up to `limit` turns after turn `after`, the oldest first."""
        await self._scope.check_conversation(conversation_id)
        return await read_turns(self._database, conversation_id, after_turn=after, limit=limit)

    async def members(self, conversation_id: str) -> builtins.list[MemberRow]:
        """Return every present and former member, with usage and the last message each has read."""
        await self._scope.check_conversation(conversation_id)
        return await read_members_with_usage(self._database, conversation_id)

    async def membership_changes(
        self, conversation_id: str, *, after: int = 0, limit: int
    ) -> builtins.list[MembershipChange]:
        """Return up to `limit` changes of the roster after epoch `after`, the oldest first."""
        await self._scope.check_conversation(conversation_id)
        return await read_changes(self._database, conversation_id, after_epoch=after, limit=limit)

    async def event_cursor(self, conversation_id: str, *, last: int | None = None) -> int:
        """Return the event number after which the last `last` messages follow; None = all messages."""
        return await read_event_cursor(self._scope, conversation_id, last=last)

    async def events(
        self, conversation_id: str, *, after: int = 0, deltas: bool = False, listener: Listener | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield every event after `after`, once and in order, until the conversation is closed.

        Args:
            conversation_id: the conversation.
            after: number of the last event already seen.
            deltas: also yield the text of a turn while the model produces it.
            listener: shared by the readers of a process; without one, the stream opens its own connection.

        Raises:
            InvalidDefinition: the conversation has no event `after` yet.
        """
        await self._scope.check_conversation(conversation_id)
        if not await has_more_events(self._database, conversation_id, after):
            return
        stream = read_event_stream(self._database, conversation_id, after, deltas=deltas, listener=listener)
        async with aclosing(stream):
            async for event in stream:
                yield event

    async def _start(
        self,
        group: Group,
        given_id: str | None,
        post: PostMessage | None,
        *,
        fork: Fork | None = None,
        close_after_round: bool = False,
        continue_as_new_after_turns: int | None = None,
    ) -> ConversationId:
        """Start a conversation under `given_id` or, without one, under a generated id that is not taken."""
        for attempts_left in reversed(range(_ID_ATTEMPTS)):
            conversation_id = ConversationId(given_id) if given_id else new_conversation_id(self._scope, group)
            try:
                await start_conversation(
                    self._scope,
                    group,
                    conversation_id,
                    post,
                    fork=fork,
                    close_after_round=close_after_round,
                    continue_as_new_after_turns=continue_as_new_after_turns,
                )
            except IdTaken:
                if given_id or attempts_left == 0:
                    raise
            else:
                return conversation_id
        raise AssertionError("the last attempt returns or raises")

    async def _delete_history(self, conversation_id: str) -> None:
        service = self._scope.temporal.workflow_service
        request = DeleteWorkflowExecutionRequest(
            namespace=self._scope.temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=conversation_id),
        )
        try:
            await service.delete_workflow_execution(request)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


def new_conversation_id(scope: OrganisationScope, group: Group) -> ConversationId:
    """Draw a readable id, such as `the-long-table-7k3f9`.

    Where payloads are encrypted the id does not contain the group's name: Temporal stores ids in the clear.
    """
    group_name = "" if scope.connection.is_encrypting else group.name
    suffix = "".join(secrets.choice(CONVERSATION_SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))
    return readable_conversation_id(group_name, suffix)

"""Activities of group changes: write the change, then notify every running conversation.

Invariant: both are idempotent. Writing is keyed by the change's workflow id, notifications by its command id.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from tertulia.activities.failpoints import Failpoint, hold_if_armed
from tertulia.core.activity_contracts import (
    ActivityName,
    DeleteAgent,
    DeleteGroup,
    GroupChangeInput,
    GroupChangeResult,
    NotifyConversationsInput,
    NotifyConversationsResult,
    PatchGroup,
)
from tertulia.core.errors import PendingLimitExceeded
from tertulia.core.ids import ConversationId
from tertulia.core.patches import GroupPatch
from tertulia.store.database import Database
from tertulia.store.group_changes import (
    conversations_with,
    running_conversations,
    write_agent_deletion,
    write_deletion,
    write_patch,
)
from tertulia.temporal.names import SET_GROUP_REVISION

_PAGE_SIZE = 100
_MAX_CONCURRENT_UPDATES = 25
_UPDATE_TIMEOUT = timedelta(seconds=5)
"""Limit for one conversation. A page on which none answers takes `_PAGE_SIZE / _MAX_CONCURRENT_UPDATES` times as long,
which has to stay below the activity's timeout."""


class _PendingLimitReached(Exception):
    """The conversation has as many pending changes as it accepts; a later attempt succeeds."""


class GroupChangeActivities:
    """The activities of the workflow `GroupChange`.

    Args:
        database: stores the change.
        client: sends updates to running conversations.
    """

    def __init__(self, database: Database, client: Client) -> None:
        self._database = database
        self._client = client

    def activities(self) -> list[Callable[..., Any]]:
        """Return all activities of this class, for a worker."""
        return [self.write_change, self.notify_conversations]

    @activity.defn(name=ActivityName.WRITE_CHANGE)
    async def write_change(self, request: GroupChangeInput) -> GroupChangeResult:
        """Write the change and return it; return the written change if there is one.

        Raises:
            NotFound: no such group or agent.
            InvalidDefinition: the changed group would be invalid.
            Conflict: the group's revision is not the expected one.
        """
        change_id = str(activity.info().workflow_id)
        stored = await self._write(change_id, request)
        await hold_if_armed(Failpoint.AFTER_GROUP_CHANGE_COMMIT)
        return stored

    async def _write(self, change_id: str, request: GroupChangeInput) -> GroupChangeResult:
        owner = request.organisation_id
        match request.change:
            case PatchGroup(group_id=group_id, fields=fields, expected_revision=expected):
                patch = GroupPatch.model_validate(fields)
                return await write_patch(self._database, change_id, owner, group_id, patch, expected)
            case DeleteGroup(group_id=group_id, closes=closes):
                return await write_deletion(self._database, change_id, owner, group_id, closes=closes)
            case DeleteAgent(agent_id=agent_id):
                return await write_agent_deletion(self._database, change_id, owner, agent_id)

    @activity.defn(name=ActivityName.NOTIFY_CONVERSATIONS)
    async def notify_conversations(self, request: NotifyConversationsInput) -> NotifyConversationsResult:
        """Notify one page of conversations and return those that did not answer."""
        if request.conversation_ids:
            return NotifyConversationsResult(
                count=len(request.conversation_ids),
                last=None,
                unanswered=await self._notify_all(request.conversation_ids, request),
            )
        if request.group is not None:
            ids = await running_conversations(
                self._database, request.group.group_id, after=request.after, limit=_PAGE_SIZE
            )
        else:
            assert request.removed_agent_id is not None
            ids = await conversations_with(
                self._database, request.organisation_id, request.removed_agent_id, after=request.after, limit=_PAGE_SIZE
            )
        unanswered = await self._notify_all(ids, request)
        return NotifyConversationsResult(
            count=len(ids), last=ids[-1] if len(ids) == _PAGE_SIZE else None, unanswered=unanswered
        )

    async def _notify_all(
        self, ids: Sequence[ConversationId], request: NotifyConversationsInput
    ) -> tuple[ConversationId, ...]:
        semaphore = asyncio.Semaphore(_MAX_CONCURRENT_UPDATES)

        async def try_notify(conversation_id: ConversationId) -> bool:
            async with semaphore:
                try:
                    await self._notify(conversation_id, request)
                except (WorkflowUpdateRPCTimeoutOrCancelledError, RPCError, _PendingLimitReached):
                    return False
                return True

        results = await asyncio.gather(*(try_notify(conversation_id) for conversation_id in ids))
        return tuple(
            conversation_id for conversation_id, is_notified in zip(ids, results, strict=True) if not is_notified
        )

    async def _notify(self, conversation_id: ConversationId, request: NotifyConversationsInput) -> None:
        # An update, not a signal: replay can deliver a signal in another order (docs/decisions/0020).
        handle = self._client.get_workflow_handle(conversation_id)
        change_id = activity.info().workflow_id
        command = {"command_id": change_id}
        await hold_if_armed(Failpoint.BEFORE_NOTIFICATION)
        try:
            if request.group is None:
                # Without an update id: an update that failed once would fail again. `command_id` makes it idempotent.
                await handle.execute_update(
                    "remove_member", command | {"agent": request.removed_agent_id}, rpc_timeout=_UPDATE_TIMEOUT
                )
            elif request.closes:
                await handle.execute_update(
                    "stop", command | {"reason": "the group was deleted"}, id=change_id, rpc_timeout=_UPDATE_TIMEOUT
                )
            else:
                await handle.execute_update(
                    SET_GROUP_REVISION, request.group.revision, id=change_id, rpc_timeout=_UPDATE_TIMEOUT
                )
        except WorkflowUpdateFailedError as error:
            if isinstance(error.cause, ApplicationError) and error.cause.type == PendingLimitExceeded.code:
                raise _PendingLimitReached from None
            # Any other refusal is final: the conversation is closing, or the agent has already left.
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND or await self._is_running(conversation_id):
                raise

    async def _is_running(self, conversation_id: ConversationId) -> bool:
        # "Not found" while it runs: it continues as new. The database may also list one that Temporal has deleted.
        try:
            description = await self._client.get_workflow_handle(conversation_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return description.status is WorkflowExecutionStatus.RUNNING

"""Changes of groups: written, then told to each conversation that runs."""

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

_PAGE_SIZE = 100
_MAX_CONCURRENT_UPDATES = 25
_UPDATE_TIMEOUT = timedelta(seconds=5)
"""A page of conversations of which none answers takes four times as long."""


class PendingLimitReached(Exception):
    """As many changes wait in a conversation as may; a moment later there is room."""


class GroupChangeActivities:
    """The activities that change groups; those that tell need a client of Temporal."""

    def __init__(self, database: Database, client: Client) -> None:
        self._database = database
        self._client = client

    def activities(self) -> list[Callable[..., Any]]:
        """Return all activities of this class, for a worker."""
        return [self.write_change, self.notify_conversations]

    @activity.defn(name=ActivityName.WRITE_CHANGE)
    async def write_change(self, work: GroupChangeInput) -> GroupChangeResult:
        """Write the change; done again, it returns what was written."""
        change_id = str(activity.info().workflow_id)
        stored = await self._write(change_id, work)
        await hold_if_armed(Failpoint.AFTER_GROUP_CHANGE_COMMIT)
        return GroupChangeResult.model_validate(stored.model_dump())

    async def _write(self, change_id: str, work: GroupChangeInput) -> GroupChangeResult:
        owner = work.organisation_id
        match work.change:
            case PatchGroup(group_id=group_id, fields=fields, expected_revision=expected):
                patch = GroupPatch.model_validate(fields)
                return await write_patch(self._database, change_id, owner, group_id, patch, expected)
            case DeleteGroup(group_id=group_id, closes=closes):
                return await write_deletion(self._database, change_id, owner, group_id, closes=closes)
            case DeleteAgent(agent_id=agent_id):
                return await write_agent_deletion(self._database, change_id, owner, agent_id)

    @activity.defn(name=ActivityName.NOTIFY_CONVERSATIONS)
    async def notify_conversations(self, work: NotifyConversationsInput) -> NotifyConversationsResult:
        """Tell one page of conversations; telling one twice does no harm."""
        if work.conversation_ids:
            return NotifyConversationsResult(
                count=len(work.conversation_ids),
                last=None,
                unanswered=await self._notify_all(work.conversation_ids, work),
            )
        if work.group is not None:
            ids = await running_conversations(self._database, work.group.group_id, after=work.after, limit=_PAGE_SIZE)
        else:
            assert work.removed_agent_id is not None
            ids = await conversations_with(
                self._database, work.organisation_id, work.removed_agent_id, after=work.after, limit=_PAGE_SIZE
            )
        unanswered = await self._notify_all(ids, work)
        return NotifyConversationsResult(
            count=len(ids), last=ids[-1] if len(ids) == _PAGE_SIZE else None, unanswered=unanswered
        )

    async def _notify_all(
        self, ids: Sequence[ConversationId], work: NotifyConversationsInput
    ) -> tuple[ConversationId, ...]:
        """Tell these; those that did not answer are returned."""
        semaphore = asyncio.Semaphore(_MAX_CONCURRENT_UPDATES)

        async def try_notify(conversation_id: ConversationId) -> bool:
            async with semaphore:
                try:
                    await self._notify(conversation_id, work)
                except (WorkflowUpdateRPCTimeoutOrCancelledError, RPCError, PendingLimitReached):
                    return False
                return True

        results = await asyncio.gather(*(try_notify(conversation_id) for conversation_id in ids))
        return tuple(
            conversation_id for conversation_id, is_notified in zip(ids, results, strict=True) if not is_notified
        )

    async def _notify(self, conversation_id: ConversationId, work: NotifyConversationsInput) -> None:
        """By update: a signal can be heard in another order by one who replays (docs/decisions/0020)."""
        handle = self._client.get_workflow_handle(conversation_id)
        change_id = activity.info().workflow_id
        command = {"command_id": change_id}
        await hold_if_armed(Failpoint.BEFORE_NOTIFICATION)
        try:
            if work.group is None:
                # Each try is an update of its own, for one that failed fails for ever; the command counts once.
                await handle.execute_update(
                    "remove_member", command | {"agent": work.removed_agent_id}, rpc_timeout=_UPDATE_TIMEOUT
                )
            elif work.closes:
                await handle.execute_update(
                    "stop", command | {"reason": "the group was deleted"}, id=change_id, rpc_timeout=_UPDATE_TIMEOUT
                )
            else:
                await handle.execute_update(
                    "group_changed", work.group.revision, id=change_id, rpc_timeout=_UPDATE_TIMEOUT
                )
        except WorkflowUpdateFailedError as error:
            if isinstance(error.cause, ApplicationError) and error.cause.type == PendingLimitExceeded.code:
                raise PendingLimitReached from None
            # It is closing, or the agent has left it meanwhile.
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND or await self._is_running(conversation_id):
                raise

    async def _is_running(self, conversation_id: ConversationId) -> bool:
        """Whether it only moves on to a new run. The database may have one as open that Temporal has forgotten."""
        try:
            description = await self._client.get_workflow_handle(conversation_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return description.status is WorkflowExecutionStatus.RUNNING

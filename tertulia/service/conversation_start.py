"""Start conversations: with a first message, with a message to a group, or as a fork.

Invariant: the id is reserved for the organisation before the workflow starts, so that no id of another organisation's
conversation can be reached through it.
"""

from typing import Any

from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from tertulia.core.admission import admit
from tertulia.core.commands import PostMessage, Receipt
from tertulia.core.errors import CommandRefused, ConversationClosed, IdTaken, Unavailable
from tertulia.core.group import Group
from tertulia.core.ids import CommandId, ConversationId
from tertulia.core.state import RULES_VERSION, ConversationState, Fork
from tertulia.service.command_updates import NO_ANSWER, UPDATE_TIMEOUT, await_answer, refusal_of
from tertulia.service.scope import OrganisationScope
from tertulia.store.conversations import reserve_conversation
from tertulia.temporal.names import GROUP_CONVERSATION, WORKFLOW_TASK_TIMEOUT
from tertulia.temporal.summaries import summary


async def start_conversation(
    scope: OrganisationScope,
    group: Group,
    conversation_id: ConversationId,
    post: PostMessage | None,
    *,
    fork: Fork | None = None,
    close_after_round: bool = False,
    continue_as_new_after_turns: int | None = None,
) -> None:
    """Start a conversation with this id and, if `post` is given, with its first message.

    Raises:
        IdTaken: the id belongs to another conversation.
        CommandRefused: the group is empty, or the message cannot be posted.
        Unavailable: Temporal does not answer.
    """
    check_not_empty(group)
    state = _initial_state(scope, group, conversation_id).model_copy(
        update={
            "fork": fork,
            "close_after_round": close_after_round,
            "continue_as_new_after_turns": continue_as_new_after_turns,
        }
    )
    await scope.connection.reach_temporal()
    if post is not None:
        state, _ = admit(state, "post_message", post, CommandId(f"{conversation_id}:start"))
    if not await reserve_conversation(scope.database, scope.organisation_id, conversation_id, group.id, fork):
        raise IdTaken(f"the id {conversation_id!r} is taken by another conversation")
    try:
        await await_answer(
            scope.temporal.start_workflow(
                GROUP_CONVERSATION,
                state,
                **_start_options(scope, group, conversation_id),
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            )
        )
    except WorkflowAlreadyStartedError:
        raise IdTaken(f"a conversation {conversation_id!r} exists already; `tertulia say` continues it") from None


async def post_or_start(
    scope: OrganisationScope, group: Group, conversation_id: ConversationId, post: PostMessage
) -> Receipt:
    """Post a message to a running conversation, or start the conversation with it.

    Raises:
        ConversationClosed: the conversation has ended.
        CommandRefused: the message cannot be posted.
        Unavailable: no answer; posting again with the same message id is safe.
    """
    check_not_empty(group)
    await scope.connection.reach_temporal()
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        GROUP_CONVERSATION,
        _initial_state(scope, group, conversation_id),
        **_start_options(scope, group, conversation_id),
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    call = scope.temporal.execute_update_with_start_workflow(
        "post_message",
        post.model_dump(mode="json", exclude_none=True),
        id=post.command_id,
        start_workflow_operation=start,
        result_type=Receipt,
        rpc_timeout=UPDATE_TIMEOUT,
    )
    try:
        receipt: Receipt = await call
    except WorkflowAlreadyStartedError:
        raise ConversationClosed(f"{conversation_id!r} has ended") from None
    except WorkflowUpdateFailedError as error:
        raise refusal_of(error) from None
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise ConversationClosed(f"{conversation_id!r} has ended") from None
        raise Unavailable(NO_ANSWER) from None
    return receipt


def check_not_empty(group: Group) -> None:
    """Refuse a group without agents.

    Raises:
        CommandRefused: the group has no agents.
    """
    if not group.agent_ids:
        raise CommandRefused(f"Empty group: {group.name!r} has no agents to talk")


def _initial_state(scope: OrganisationScope, group: Group, conversation_id: ConversationId) -> ConversationState:
    return ConversationState(
        group=group.id,
        conversation_id=conversation_id,
        organisation_id=scope.organisation_id,
        settings=group.settings,
        ids_only=scope.connection.is_encrypting,
        rules_version=RULES_VERSION,
    )


def _start_options(scope: OrganisationScope, group: Group, conversation_id: ConversationId) -> dict[str, Any]:
    return {
        "id": conversation_id,
        "task_queue": scope.connection.task_queue,
        "task_timeout": WORKFLOW_TASK_TIMEOUT,
        "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
        "static_summary": summary(group.name, group.description),
        "static_details": group.description or None,
    }

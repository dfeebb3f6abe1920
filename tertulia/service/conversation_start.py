"""Starting conversations: of a group, with a first message; where messages to a group go; as a fork of another one.

Law: the id belongs to the organisation before the workflow starts, so that nobody else's conversation can be met by it.
"""

from typing import TYPE_CHECKING, Any

from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from tertulia.core.admission import admit
from tertulia.core.commands import PostMessage, Receipt
from tertulia.core.errors import CommandRefused, ConversationClosed, Unavailable
from tertulia.core.group import Group
from tertulia.core.ids import CommandId, ConversationId
from tertulia.core.state import ConversationState, Fork
from tertulia.service.command_updates import UNANSWERED, UPDATE_TIMEOUT, answered, refusal
from tertulia.store.conversations import reserve_conversation
from tertulia.temporal.encryption import is_encrypting
from tertulia.workflows.activity_calls import WORKFLOW_TASK_TIMEOUT
from tertulia.workflows.conversation import GroupConversation
from tertulia.workflows.ui_details import summary

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia


async def start_conversation(
    client: "Tertulia",
    group: Group,
    conversation_id: ConversationId,
    post: PostMessage | None,
    *,
    fork: Fork | None = None,
    close_after_round: bool = False,
    continue_as_new_after_turns: int | None = None,
) -> None:
    """Start a conversation of that id, with its first message if there is one.

    Raises:
        CommandRefused: the id is taken, the group is empty, or the message cannot be posted.
        Unavailable: Temporal does not answer.
    """
    refuse_empty(group)
    state = _state(client, group, conversation_id).model_copy(
        update={
            "fork": fork,
            "close_after_round": close_after_round,
            "continue_as_new_after_turns": continue_as_new_after_turns,
        }
    )
    await client.reach_temporal()
    if post is not None:
        state, _ = admit(state, "post_message", post, CommandId(f"{conversation_id}:start"))
    await reserve_conversation(client.database, client.organisation_id, conversation_id, group.id, fork)
    try:
        await answered(
            client.temporal.start_workflow(
                GroupConversation.run,
                state,
                **_options(client, group, conversation_id),
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            )
        )
    except WorkflowAlreadyStartedError:
        raise CommandRefused(
            f"a conversation {conversation_id!r} exists already; `tertulia say` continues it"
        ) from None


async def post_or_start(
    client: "Tertulia", group: Group, conversation_id: ConversationId, post: PostMessage
) -> Receipt:
    """Say something in a conversation that runs, or start it with that.

    Raises:
        ConversationClosed: it has ended.
        CommandRefused: the message cannot be posted.
        Unavailable: no answer; doing it again with the same id is safe.
    """
    refuse_empty(group)
    await client.reach_temporal()
    start = WithStartWorkflowOperation(
        GroupConversation.run,
        _state(client, group, conversation_id),
        **_options(client, group, conversation_id),
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    call = client.temporal.execute_update_with_start_workflow(
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
        raise refusal(error) from None
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise ConversationClosed(f"{conversation_id!r} has ended") from None
        raise Unavailable(UNANSWERED) from None
    return receipt


def refuse_empty(group: Group) -> None:
    """Refuse to talk with a group of nobody.

    Raises:
        CommandRefused: it has no agents.
    """
    if not group.agent_ids:
        raise CommandRefused(f"Empty group: {group.name!r} has no agents to talk")


def _state(client: "Tertulia", group: Group, conversation_id: ConversationId) -> ConversationState:
    return ConversationState(
        group=group.id,
        conversation_id=conversation_id,
        organisation_id=client.organisation_id,
        settings=group.settings,
        ids_only=is_encrypting(client.temporal.data_converter),
    )


def _options(client: "Tertulia", group: Group, conversation_id: ConversationId) -> dict[str, Any]:
    return {
        "id": conversation_id,
        "task_queue": client.task_queue,
        "task_timeout": WORKFLOW_TASK_TIMEOUT,
        "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
        "static_summary": summary(group.name, group.description),
        "static_details": group.description or None,
    }

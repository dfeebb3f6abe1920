"""Changes of groups that reach the running conversations for sure: each is a small workflow, so that a crash loses
nothing between what is written and what is told."""

import uuid
from typing import TYPE_CHECKING, Literal

from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from tertulia.core.activity_contracts import DeleteAgent, DeleteGroup, GroupChangeInput, GroupChangeResult, PatchGroup
from tertulia.core.errors import (
    CommandRefused,
    Conflict,
    ErrorType,
    InvalidDefinition,
    NotFound,
    TertuliaError,
    Unavailable,
)
from tertulia.core.group import Group
from tertulia.core.ids import AgentId, GroupId, OrganisationId
from tertulia.core.patches import GroupPatch
from tertulia.service.command_updates import UPDATE_TIMEOUT, answered
from tertulia.store.groups import find_group
from tertulia.workflows.group_change import GroupChange
from tertulia.workflows.ui_details import summary

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia


async def change_group(
    client: "Tertulia",
    organisation_id: OrganisationId,
    group_id: GroupId,
    patch: GroupPatch,
    expected_revision: int | None = None,
) -> Group:
    """Change a group, and return it as it is now; its conversations are told.

    Raises:
        NotFound: no such group, or no such agent or block.
        InvalidDefinition: such a group cannot be.
        Conflict: someone else changed it first.
        Unavailable: nobody answers. The change may still be made: reading the group shows it.
    """
    fields = patch.model_dump(mode="json", include=patch.model_fields_set)
    change = PatchGroup(group_id=group_id, fields=fields, expected_revision=expected_revision)
    await _made(client, GroupChangeInput(organisation_id=organisation_id, change=change))
    return await find_group(client.database, organisation_id, group_id)


async def delete_group(
    client: "Tertulia",
    organisation_id: OrganisationId,
    group_id: GroupId,
    conversations: Literal["close", "detach"] = "close",
) -> None:
    """Delete a group. Its conversations close at their next turn boundary, or go on without it; transcripts stay.

    Raises:
        NotFound: no such group.
        Unavailable: nobody answers.
    """
    change = DeleteGroup(group_id=group_id, closes=conversations == "close")
    await _made(client, GroupChangeInput(organisation_id=organisation_id, change=change))


async def delete_agent_everywhere(client: "Tertulia", organisation_id: OrganisationId, agent_id: AgentId) -> None:
    """Delete an agent, and take it out of all groups and all running conversations.

    Raises:
        NotFound: no such agent.
        Unavailable: nobody answers.
    """
    await _made(client, GroupChangeInput(organisation_id=organisation_id, change=DeleteAgent(agent_id=agent_id)))


async def _made(client: "Tertulia", change: GroupChangeInput) -> GroupChangeResult:
    """What was written; telling goes on by itself."""
    await client.reach_temporal()
    start = WithStartWorkflowOperation(
        GroupChange.run,
        change,
        id=f"group-change-{uuid.uuid4()}",
        task_queue=client.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        static_summary=summary(change.describe()),
    )
    call = client.temporal.execute_update_with_start_workflow(
        "written", start_workflow_operation=start, result_type=GroupChangeResult, rpc_timeout=UPDATE_TIMEOUT
    )
    try:
        written: GroupChangeResult = await answered(call)
    except WorkflowUpdateFailedError as error:
        raise _refusal(error) from None
    return written


_KINDS: dict[str | None, type[TertuliaError]] = {
    ErrorType.NOT_FOUND: NotFound,
    ErrorType.INVALID_DEFINITION: InvalidDefinition,
    ErrorType.CONFLICT: Conflict,
    ErrorType.COMMAND_REFUSED: CommandRefused,
}


def _refusal(error: WorkflowUpdateFailedError) -> TertuliaError:
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        return Unavailable(str(cause or error))
    return _KINDS.get(cause.type, Unavailable)(cause.message)

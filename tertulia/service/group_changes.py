"""Change and delete groups and agents through the workflow `GroupChange`.

Invariant: a change that was stored reaches every running conversation, whatever process dies in between.
"""

import uuid
from typing import Any

from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from tertulia.core.activity_contracts import DeleteAgent, DeleteGroup, GroupChangeInput, GroupChangeResult, PatchGroup
from tertulia.core.errors import TertuliaError, Unavailable, error_from_code
from tertulia.core.group import ClosePolicy, Group
from tertulia.core.ids import AgentId, GroupId
from tertulia.core.patches import GroupPatch
from tertulia.service.command_updates import UPDATE_TIMEOUT, await_answer
from tertulia.service.scope import OrganisationScope
from tertulia.store.groups import find_group
from tertulia.temporal.names import GROUP_CHANGE, GROUP_CHANGE_STORED
from tertulia.temporal.summaries import summary


async def change_group(
    scope: OrganisationScope,
    group_id: GroupId,
    patch: GroupPatch,
    expected_revision: int | None = None,
) -> Group:
    """Change a group and notify its conversations; return the group after the change.

    Raises:
        NotFound: no such group, or no such agent or block.
        InvalidDefinition: the changed group would be invalid.
        Conflict: the group's revision is not the expected one.
        Unavailable: no answer. The change may still be made; reading the group shows whether it was.
    """
    fields = patch.model_dump(mode="json", include=patch.model_fields_set)
    change = PatchGroup(group_id=group_id, fields=fields, expected_revision=expected_revision)
    await _execute(scope, GroupChangeInput(organisation_id=scope.organisation_id, change=change))
    return await find_group(scope.database, scope.organisation_id, group_id)


async def delete_group(
    scope: OrganisationScope,
    group_id: GroupId,
    conversations: ClosePolicy = "close",
) -> None:
    """Delete a group. Its conversations close at their next turn boundary or continue without it; transcripts stay.

    Raises:
        NotFound: no such group.
        Unavailable: no answer.
    """
    change = DeleteGroup(group_id=group_id, closes=conversations == "close")
    await _execute(scope, GroupChangeInput(organisation_id=scope.organisation_id, change=change))


async def delete_agent_everywhere(scope: OrganisationScope, agent_id: AgentId) -> None:
    """Delete an agent and remove it from all groups and all running conversations.

    Raises:
        NotFound: no such agent.
        Unavailable: no answer.
    """
    await _execute(
        scope, GroupChangeInput(organisation_id=scope.organisation_id, change=DeleteAgent(agent_id=agent_id))
    )


async def _execute(scope: OrganisationScope, change: GroupChangeInput) -> GroupChangeResult:
    """Start the workflow and return what it stored; notifying the conversations continues in the background."""
    await scope.connection.reach_temporal()
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        GROUP_CHANGE,
        change,
        id=f"group-change-{uuid.uuid4()}",
        task_queue=scope.connection.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        static_summary=summary(change.describe()),
    )
    call = scope.temporal.execute_update_with_start_workflow(
        GROUP_CHANGE_STORED, start_workflow_operation=start, result_type=GroupChangeResult, rpc_timeout=UPDATE_TIMEOUT
    )
    try:
        result: GroupChangeResult = await await_answer(call)
    except WorkflowUpdateFailedError as error:
        raise _refusal_of(error) from None
    return result


def _refusal_of(error: WorkflowUpdateFailedError) -> TertuliaError:
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        return Unavailable(str(cause or error))
    return error_from_code(cause.type, cause.message, default=Unavailable)

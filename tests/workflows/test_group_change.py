"""A change of a group reaches every running conversation, at its next turn boundary."""

import asyncio
from collections.abc import Callable

import pytest
from temporalio.client import WorkflowExecutionStatus

from tertulia.core.activity_contracts import GroupChangeInput, PatchGroup
from tertulia.core.errors import CommandRefused, Conflict, InvalidDefinition, NotFound
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, ConversationId, GroupId
from tertulia.core.patches import GroupPatch
from tertulia.core.state import MAX_PENDING_CHANGES, ConversationState
from tertulia.core.status import ConversationStatus
from tertulia.service.group_changes import change_group, delete_agent_everywhere, delete_group
from tertulia.store.agents import find_agent
from tertulia.store.conversations import reserve_conversation
from tertulia.store.groups import find_group
from tertulia.testing import WorkflowHarness
from tertulia.workflows.conversation import GroupConversation
from tertulia.workflows.group_change import GroupChange


def short_names(status: ConversationStatus) -> list[str]:
    """Return the short names of the members, in order."""
    return [member.name.rpartition("-")[0] for member in status.roster.members]


async def create_agent(harness: WorkflowHarness, name: str) -> AgentId:
    (full,) = await harness.agents(name)
    return (await find_agent(harness.client.scope.database, DEFAULT_ORGANISATION, full)).id


async def patch_group(harness: WorkflowHarness, group_id: str, expected: int | None = None, **fields: object) -> None:
    change = GroupPatch.model_validate(fields)
    await change_group(harness.client.scope, GroupId(group_id), change, expected)


async def test_group_change_reaches_all_conversations(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo")
    talks = [await harness.start(group, "Hello.") for _ in range(3)]
    for talk in talks:
        await harness.wait_until(talk, lambda status: status.stop_reason is not None)
    found = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, group)
    ana, _, cleo = found.agent_ids
    dora = await create_agent(harness, "Dora")
    await patch_group(harness, found.id, agent_ids=[cleo, dora, ana])
    for talk in talks:
        await harness.wait_until(talk, lambda status: short_names(status) == ["Cleo", "Dora", "Ana"])
        kinds = [change.kind for change in await harness.handle(talk).members.changes()]
        assert sorted(kinds) == ["add", "remove", "reorder"]


async def test_group_change_conflict_on_revision(harness: WorkflowHarness) -> None:
    group = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben"))
    texts = ["One table.", "Another table."]
    done = await asyncio.gather(
        *(patch_group(harness, group.id, group.revision, description=text) for text in texts), return_exceptions=True
    )
    (conflict,) = (one for one in done if one is not None)
    assert isinstance(conflict, Conflict)
    assert f"revision {group.revision + 1} now, not {group.revision}" in str(conflict)
    now = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, group.id)
    assert (now.description, now.revision) == (texts[done.index(None)], group.revision + 1)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"agent_ids": ["nobody"]}, NotFound, "nobody"),
        ({"manager_config": {"manager_type": "dynamic"}}, InvalidDefinition, "Cannot change group pattern"),
        ({"settings": {"intake": "never"}}, InvalidDefinition, "settings.intake"),
        ({"shared_block_ids": ["block-none"]}, NotFound, "block-none"),
    ],
)
async def test_group_change_invalid_changes_nothing(
    harness: WorkflowHarness, fields: dict[str, object], error: type[Exception], message: str
) -> None:
    group = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben"))
    with pytest.raises(error, match=message):
        await patch_group(harness, group.id, **fields)  # type: ignore[arg-type]
    assert await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, group.id) == group


async def test_group_settings_merge_with_own(harness: WorkflowHarness) -> None:
    group = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben"))
    talk = await start_idle(harness, group.id)
    await harness.handle(talk).update_settings({"preview_chars": 7, "max_turns": 1})
    await patch_group(
        harness, group.id, settings={"context_messages": 5}, manager_config={"termination_token": "BASTA"}
    )
    await harness.handle(talk).post("Once more.")
    await harness.wait_until_idle(talk, rounds=2)
    said = [turn.text_preview for turn in await harness.handle(talk).recent_turns()]
    assert len(said) == 3, "the second round has one turn: the conversation's own setting stays"
    assert len(said[-1]) <= 8


async def start_idle(harness: WorkflowHarness, group_id: str) -> ConversationId:
    talk = await harness.start(group_id, "Hello.")
    await harness.wait_until_idle(talk)
    return talk


async def test_group_change_keeps_added_member(harness: WorkflowHarness) -> None:
    group = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben"))
    talk = await start_idle(harness, group.id)
    await harness.handle(talk).members.add(await create_agent(harness, "Guest"), position=0)
    await patch_group(harness, group.id, agent_ids=list(reversed(group.agent_ids)))
    await harness.wait_until(talk, lambda status: short_names(status) == ["Guest", "Ben", "Ana"])


@pytest.mark.parametrize("conversations", ["close", "detach"])
async def test_deleted_group_closes_or_detaches(harness: WorkflowHarness, conversations: str) -> None:
    group = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben"))
    talk = await start_idle(harness, group.id)
    await delete_group(harness.client.scope, group.id, "close" if conversations == "close" else "detach")
    with pytest.raises(NotFound):
        await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, group.id)
    if conversations == "close":
        status = await harness.wait_until(talk, lambda status: status.phase == "closed")
        assert "the group was deleted" in str(status.stop_explanation)
    else:
        await harness.handle(talk).post("Are you still there?")
        await harness.wait_until_idle(talk, rounds=2)
    assert await harness.transcript(talk)


async def test_deleted_agent_is_replaced_as_manager(
    harness: WorkflowHarness,
) -> None:
    lead, deputy = await create_agent(harness, "Lead"), await create_agent(harness, "Deputy")
    rules = {"manager_type": "dynamic", "manager_agent_id": lead, "fallback_manager_ids": [deputy], "max_turns": 2}
    led = await find_group(
        harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben", manager=rules)
    )
    talk = await start_idle(harness, led.id)
    await delete_agent_everywhere(harness.client.scope, lead)
    await harness.handle(talk).post("Go on.")
    await harness.wait_until_idle(talk, rounds=2)
    turns = await harness.turns(talk)
    assert {turn.chosen_by for turn in turns[-2:]} == {"manager"}
    now = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, led.id)
    assert now.manager_ids == (deputy,)


async def test_deleted_agent_leaves_as_added_member(harness: WorkflowHarness) -> None:
    group = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben"))
    talk = await start_idle(harness, group.id)
    guest = await create_agent(harness, "Guest")
    await harness.handle(talk).members.add(guest)
    await harness.wait_until(talk, lambda status: "Guest" in short_names(status))
    await delete_agent_everywhere(harness.client.scope, guest)
    await harness.wait_until(talk, lambda status: short_names(status) == ["Ana", "Ben"])
    with pytest.raises(NotFound):
        await find_agent(harness.client.scope.database, DEFAULT_ORGANISATION, guest)


async def test_deleted_agent_leaves_with_full_queue(
    harness: WorkflowHarness, hold_next_model_call: Callable[[], Callable[[], None]]
) -> None:
    group = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben"))
    talk = await start_idle(harness, group.id)
    guest = await create_agent(harness, "Guest")
    await harness.handle(talk).members.add(guest)
    await harness.wait_until(talk, lambda status: "Guest" in short_names(status))
    release = hold_next_model_call()
    await harness.handle(talk).post("Who is that?")
    await harness.wait_until(talk, lambda status: status.speaking is not None)
    for number in range(MAX_PENDING_CHANGES):
        command = "unmute_member" if number % 2 else "mute_member"
        await harness.client.scope.workflow_handle(talk).signal(command, {"agent": group.agent_ids[0]})
    with pytest.raises(CommandRefused, match=f"{MAX_PENDING_CHANGES} roster changes wait already"):
        await harness.handle(talk).members.mute(group.agent_ids[0])
    await delete_agent_everywhere(harness.client.scope, guest)
    release()
    await harness.wait_until(talk, lambda status: short_names(status) == ["Ana", "Ben"])


async def test_group_change_applies_at_turn_boundary(harness: WorkflowHarness) -> None:
    group = await find_group(
        harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben", "Cleo")
    )
    await harness.model.set_behaviour(delay_ms=1_500)
    talk = await harness.start(group.id, "Hello.")
    await harness.wait_until(talk, lambda status: (status.speaking or "").startswith("Ana"))
    await patch_group(harness, group.id, agent_ids=[group.agent_ids[0], group.agent_ids[2]])
    await harness.model.set_behaviour(delay_ms=0)
    await harness.wait_until_idle(talk)
    assert "Ben" not in await harness.speakers(talk)
    assert (await harness.speakers(talk))[:2] == ["Ana", "Cleo"]


async def test_unresponsive_conversation_is_retried(harness: WorkflowHarness) -> None:
    group = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben"))
    silent = ConversationId(f"a-{group.id}")
    await reserve_conversation(harness.client.scope.database, DEFAULT_ORGANISATION, silent, group.id)
    state = ConversationState(group=group.id, conversation_id=silent)
    nobody = await harness.client.scope.temporal.start_workflow(
        GroupConversation.run, state, id=silent, task_queue=f"nobody-{group.id}"
    )
    talk = await start_idle(harness, group.id)
    change = PatchGroup(group_id=group.id, fields={"agent_ids": [group.agent_ids[0]]})
    changing = await harness.client.scope.temporal.start_workflow(
        GroupChange.run,
        GroupChangeInput(organisation_id=DEFAULT_ORGANISATION, change=change),
        id=f"change-{group.id}",
        task_queue=harness.client.scope.connection.task_queue,
    )
    await harness.wait_until(talk, lambda status: short_names(status) == ["Ana"])
    assert (await changing.describe()).status is WorkflowExecutionStatus.RUNNING
    await nobody.terminate()
    await changing.result()

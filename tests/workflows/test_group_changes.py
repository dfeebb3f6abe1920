"""A change of a group reaches its running conversations, for sure and at the next turn boundary."""

import asyncio

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
from tertulia.workflows.conversation import GroupConversation
from tertulia.workflows.group_change import GroupChange
from tests.workflows.salon import Salon


def short(status: ConversationStatus) -> list[str]:
    """Who is there, in order."""
    return [member.name.rpartition("-")[0] for member in status.roster.members]


async def agent(salon: Salon, name: str) -> AgentId:
    (full,) = await salon.agents(name)
    return (await find_agent(salon.client.scope.database, DEFAULT_ORGANISATION, full)).id


async def patch(salon: Salon, group_id: str, expected: int | None = None, **fields: object) -> None:
    change = GroupPatch.model_validate(fields)
    await change_group(salon.client.scope, GroupId(group_id), change, expected)


async def test_members_leave_join_and_change_places_in_every_conversation_that_runs(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo")
    talks = [(await salon.client.conversations.create(group, "Hello.")).id for _ in range(3)]
    for talk in talks:
        await salon.until(talk, lambda status: status.stop_reason is not None)
    found = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, group)
    ana, _, cleo = found.agent_ids
    dora = await agent(salon, "Dora")
    await patch(salon, found.id, agent_ids=[cleo, dora, ana])
    for talk in talks:
        await salon.until(talk, lambda status: short(status) == ["Cleo", "Dora", "Ana"])
        kinds = [change.kind for change in await salon.client.conversations.handle(talk).members.changes()]
        assert sorted(kinds) == ["add", "remove", "reorder"]


async def test_of_two_who_change_the_same_revision_one_is_told_that_the_other_was_first(salon: Salon) -> None:
    group = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group("Ana", "Ben"))
    texts = ["One table.", "Another table."]
    done = await asyncio.gather(
        *(patch(salon, group.id, group.revision, description=text) for text in texts), return_exceptions=True
    )
    (conflict,) = (one for one in done if one is not None)
    assert isinstance(conflict, Conflict)
    assert f"revision {group.revision + 1} now, not {group.revision}" in str(conflict)
    now = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, group.id)
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
async def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    salon: Salon, fields: dict[str, object], error: type[Exception], message: str
) -> None:
    group = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group("Ana", "Ben"))
    with pytest.raises(error, match=message):
        await patch(salon, group.id, **fields)  # type: ignore[arg-type]
    assert await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, group.id) == group


async def test_settings_that_the_group_changes_count_and_those_of_the_conversation_stay(salon: Salon) -> None:
    group = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group("Ana", "Ben"))
    talk = await idle(salon, group.id)
    await salon.client.conversations.handle(talk).update_settings({"preview_chars": 7, "max_turns": 1})
    await patch(salon, group.id, settings={"context_messages": 5}, manager_config={"termination_token": "BASTA"})
    await salon.client.conversations.handle(talk).post("Once more.")
    await salon.until_idle(talk, rounds=2)
    said = [turn.text_preview for turn in await salon.client.conversations.handle(talk).recent_turns()]
    assert len(said) == 3, "the round of the second message has one turn, as its conversation was told"
    assert len(said[-1]) <= 8


async def idle(salon: Salon, group_id: str) -> ConversationId:
    talk = (await salon.client.conversations.create(group_id, "Hello.")).id
    await salon.until_idle(talk)
    return talk


async def test_whom_an_operator_added_stays_when_the_group_changes(salon: Salon) -> None:
    group = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group("Ana", "Ben"))
    talk = await idle(salon, group.id)
    await salon.client.conversations.handle(talk).members.add(await agent(salon, "Guest"), position=0)
    await patch(salon, group.id, agent_ids=list(reversed(group.agent_ids)))
    await salon.until(talk, lambda status: short(status) == ["Guest", "Ben", "Ana"])


@pytest.mark.parametrize("conversations", ["close", "detach"])
async def test_a_deleted_group_lets_its_conversations_close_or_go_on(salon: Salon, conversations: str) -> None:
    group = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group("Ana", "Ben"))
    talk = await idle(salon, group.id)
    await delete_group(salon.client.scope, group.id, "close" if conversations == "close" else "detach")
    with pytest.raises(NotFound):
        await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, group.id)
    if conversations == "close":
        status = await salon.until(talk, lambda status: status.phase == "closed")
        assert "the group was deleted" in str(status.stop_explanation)
    else:
        await salon.client.conversations.handle(talk).post("Are you still there?")
        await salon.until_idle(talk, rounds=2)
    assert await salon.transcript(talk)


async def test_an_agent_that_is_deleted_leaves_groups_and_conversations_and_the_next_manager_leads(
    salon: Salon,
) -> None:
    lead, deputy = await agent(salon, "Lead"), await agent(salon, "Deputy")
    rules = {"manager_type": "dynamic", "manager_agent_id": lead, "fallback_manager_ids": [deputy], "max_turns": 2}
    led = await find_group(
        salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group("Ana", "Ben", manager=rules)
    )
    talk = await idle(salon, led.id)
    await delete_agent_everywhere(salon.client.scope, lead)
    await salon.client.conversations.handle(talk).post("Go on.")
    await salon.until_idle(talk, rounds=2)
    turns = await salon.turns(talk)
    assert {turn.chosen_by for turn in turns[-2:]} == {"manager"}
    now = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, led.id)
    assert now.manager_ids == (deputy,)


async def test_an_agent_that_is_deleted_leaves_also_where_an_operator_added_it(salon: Salon) -> None:
    group = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group("Ana", "Ben"))
    talk = await idle(salon, group.id)
    guest = await agent(salon, "Guest")
    await salon.client.conversations.handle(talk).members.add(guest)
    await salon.until(talk, lambda status: "Guest" in short(status))
    await delete_agent_everywhere(salon.client.scope, guest)
    await salon.until(talk, lambda status: short(status) == ["Ana", "Ben"])
    with pytest.raises(NotFound):
        await find_agent(salon.client.scope.database, DEFAULT_ORGANISATION, guest)


async def test_an_agent_that_is_deleted_leaves_also_where_no_further_change_could_wait(salon: Salon) -> None:
    group = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group("Ana", "Ben"))
    talk = await idle(salon, group.id)
    guest = await agent(salon, "Guest")
    await salon.client.conversations.handle(talk).members.add(guest)
    await salon.until(talk, lambda status: "Guest" in short(status))
    await salon.model.behave(delay_ms=6_000)
    await salon.client.conversations.handle(talk).post("Who is that?")
    await salon.until(talk, lambda status: status.speaking is not None)
    for number in range(MAX_PENDING_CHANGES):
        command = "unmute_member" if number % 2 else "mute_member"
        await salon.client.scope.workflow_handle(talk).signal(command, {"agent": group.agent_ids[0]})
    with pytest.raises(CommandRefused, match=f"{MAX_PENDING_CHANGES} changes of members wait already"):
        await salon.client.conversations.handle(talk).members.mute(group.agent_ids[0])
    await delete_agent_everywhere(salon.client.scope, guest)
    await salon.model.behave(delay_ms=0)
    await salon.until(talk, lambda status: short(status) == ["Ana", "Ben"])


async def test_a_change_during_a_round_counts_from_the_next_turn_boundary_on(salon: Salon) -> None:
    group = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group("Ana", "Ben", "Cleo"))
    await salon.model.behave(delay_ms=1_500)
    talk = (await salon.client.conversations.create(group.id, "Hello.")).id
    await salon.until(talk, lambda status: (status.speaking or "").startswith("Ana"))
    await patch(salon, group.id, agent_ids=[group.agent_ids[0], group.agent_ids[2]])
    await salon.model.behave(delay_ms=0)
    await salon.until_idle(talk)
    assert "Ben" not in await salon.speakers(talk)
    assert (await salon.speakers(talk))[:2] == ["Ana", "Cleo"]


async def test_one_that_does_not_answer_keeps_no_other_waiting_and_is_told_as_long_as_it_runs(salon: Salon) -> None:
    group = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group("Ana", "Ben"))
    silent = ConversationId(f"a-{group.id}")
    await reserve_conversation(salon.client.scope.database, DEFAULT_ORGANISATION, silent, group.id)
    state = ConversationState(group=group.id, conversation_id=silent)
    nobody = await salon.client.scope.temporal.start_workflow(
        GroupConversation.run, state, id=silent, task_queue=f"nobody-{group.id}"
    )
    talk = await idle(salon, group.id)
    change = PatchGroup(group_id=group.id, fields={"agent_ids": [group.agent_ids[0]]})
    changing = await salon.client.scope.temporal.start_workflow(
        GroupChange.run,
        GroupChangeInput(organisation_id=DEFAULT_ORGANISATION, change=change),
        id=f"change-{group.id}",
        task_queue=salon.client.scope.connection.task_queue,
    )
    await salon.until(talk, lambda status: short(status) == ["Ana"])
    assert (await changing.describe()).status is WorkflowExecutionStatus.RUNNING
    await nobody.terminate()
    await changing.result()

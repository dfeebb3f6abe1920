"""Who takes part changes while the conversation runs: at turn boundaries, in the order received, once per id."""

import asyncio
import itertools
import random
import uuid
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from tertulia.core.commands import Receipt
from tertulia.core.errors import CommandRefused, NotFound, TertuliaError
from tests.workflows.salon import Salon


async def test_a_change_takes_effect_at_the_next_turn_boundary(salon: Salon) -> None:
    await salon.agents("Dora")
    group = await salon.group("Ana", "Ben", "Cleo", manager={"manager_type": "round_robin", "max_turns": 6})
    await salon.model.behave(delay_ms=300)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until(conversation, lambda status: status.speaking == salon.name("Ana"))
    receipt = await salon.client.conversations.handle(conversation).members.add(salon.name("Dora"), position=1)
    await salon.client.conversations.handle(conversation).members.remove(salon.name("Ben"))
    assert receipt.epoch == 2
    await salon.until_idle(conversation)
    assert await salon.speakers(conversation) == ["Ana", "Dora", "Cleo", "Ana", "Dora", "Cleo"]
    changes = await salon.client.conversations.handle(conversation).members.changes()
    assert [(change.epoch, change.kind, change.after_turn) for change in changes] == [(2, "add", 1), (3, "remove", 1)]


async def test_every_kind_of_change_is_applied(salon: Salon) -> None:
    await salon.agents("Dora", "Ed")
    group = await salon.group("Ana", "Ben", "Cleo")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    client, name = salon.client, salon.name
    await client.conversations.handle(conversation).members.add(name("Dora"))
    await client.conversations.handle(conversation).members.replace(name("Ben"), name("Ed"))
    await client.conversations.handle(conversation).members.mute(name("Ana"))
    await client.conversations.handle(conversation).members.reorder(
        [name(short) for short in ("Dora", "Ed", "Ana", "Cleo")]
    )
    await salon.until(conversation, lambda status: status.roster.epoch == 5)
    await client.conversations.handle(conversation).post("Two.")
    await salon.until_idle(conversation, rounds=2)
    assert (await salon.speakers(conversation))[3:] == ["Dora", "Ed", "Cleo"]
    await client.conversations.handle(conversation).members.unmute(name("Ana"))
    await client.conversations.handle(conversation).post("Three.")
    await salon.until_idle(conversation, rounds=3)
    assert "Ana" in (await salon.speakers(conversation))[6:]


async def test_a_command_id_counts_once_and_gets_its_first_answer(salon: Salon) -> None:
    await salon.agents("Dora")
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    first = await salon.client.conversations.handle(conversation).members.add(salon.name("Dora"), command_id="join")
    await salon.client.conversations.handle(conversation).members.mute(salon.name("Dora"))
    again: Receipt = await salon.client.scope.workflow_handle(conversation).execute_update(
        "add_member",
        {"agent": salon.name("Dora"), "command_id": "join"},
        id=uuid.uuid4().hex,
        result_type=Receipt,
    )
    assert again == first
    status = await salon.until(conversation, lambda status: not status.pending.commands)
    assert [member.state for member in status.roster.members] == ["active", "active", "muted"]


@pytest.mark.parametrize(
    ("command", "argument", "reason"),
    [
        ("add_member", {"agent": "Ana"}, "is already a member"),
        ("remove_member", {"agent": "Zoe"}, "'Zoe' is not a member of this conversation"),
        ("mute_member", {}, "agent: Field required"),
        ("mute_member", {"agent": "Ana", "loud": 1}, "loud: unknown field"),
        ("unmute_member", {"agent": "Ana"}, "is not muted"),
        ("reorder_members", {"agents": ["Ana"]}, "must name every member once"),
        ("replace_member", {"agent": "Ana", "replacement": "Ben"}, "already"),
        ("add_member", {"agent": "Ana", "position": -1}, "position"),
        ("add_member", {"agent": "Ana", "catch_up": "some"}, "catch_up"),
        ("update_settings", {"colour": "red"}, "colour: no such setting"),
        ("update_settings", {"max_turns": 0}, "max_turns"),
        ("update_settings", {}, "no setting is named"),
        ("post_message", {"text": " "}, "at least 1"),
        ("post_message", {"text": "x", "sender": "Ana"}, "is a member"),
        ("resume", {}, "is not paused"),
        ("post_message", "just text", "valid dictionary"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_its_reason_as_update_and_as_signal(
    salon: Salon, command: str, argument: Any, reason: str
) -> None:
    group = await salon.group("Ana", "Ben")
    if isinstance(argument, dict):
        members = {"Ana", "Ben"}
        argument = {
            key: [salon.name(one) for one in value]
            if isinstance(value, list)
            else salon.name(value)
            if value in members
            else value
            for key, value in argument.items()
        }
    conversation = (await salon.client.conversations.create(group, "One.")).id
    before = await salon.until_idle(conversation)
    handle = salon.client.scope.workflow_handle(conversation)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update(command, argument)
    assert reason in str(refused.value.__cause__)
    await handle.signal(command, argument)
    status = await salon.until(conversation, lambda status: bool(status.rejected))
    assert status.rejected[0].command == command
    assert reason in status.rejected[0].reason
    assert status.roster == before.roster
    assert status.messages == before.messages


async def test_an_agent_that_does_not_exist_is_refused_at_the_door(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    with pytest.raises(NotFound, match="no such agent: 'nobody'"):
        await salon.client.conversations.handle(conversation).members.add("nobody")
    await salon.client.scope.workflow_handle(conversation).signal("add_member", {"agent": "nobody"})
    status = await salon.until(conversation, lambda status: bool(status.rejected))
    assert "nobody" in status.rejected[0].reason
    assert status.roster.epoch == 1


async def test_every_command_works_as_a_signal(salon: Salon) -> None:
    await salon.agents("Dora", "Ed")
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    handle, name = salon.client.scope.workflow_handle(conversation), salon.name
    await handle.signal("pause", {"reason": "to change the company"})
    await handle.signal("add_member", {"agent_id": name("Dora")})
    await handle.signal("replace_member", {"agent": name("Ben"), "replacement": name("Ed")})
    await handle.signal("mute_member", {"agent": name("Ana")})
    await handle.signal("unmute_member", {"agent": name("Ana")})
    await handle.signal("reorder_members", {"agents": [name("Ed"), name("Dora"), name("Ana")]})
    await handle.signal("remove_member", {"agent": name("Dora")})
    await handle.signal("update_settings", {"max_turns": 3})
    await handle.signal("post_message", {"text": "Two."})
    await handle.signal("resume")
    status = await salon.until_idle(conversation, rounds=2)
    assert status.rejected == ()
    assert [member.name for member in status.roster.members] == [name("Ed"), name("Ana")]
    assert (await salon.speakers(conversation))[2:] == ["Ed", "Ana", "Ed"]
    await handle.signal("stop")
    assert (await salon.until(conversation, lambda status: status.phase == "closed")).stop_reason == "operator_stop"


async def test_a_change_sent_before_the_group_is_loaded_waits_for_it(salon: Salon) -> None:
    await salon.agents("Dora")
    group = await salon.group("Ana", "Ben", manager={"manager_type": "round_robin", "max_turns": 3})
    conversation = (await salon.client.conversations.create(group, "One.")).id
    handle = salon.client.scope.workflow_handle(conversation)
    await handle.signal("add_member", {"agent": salon.name("Dora"), "position": 0})
    await handle.signal("update_settings", {"preview_chars": 10})
    await salon.client.conversations.handle(conversation).members.mute(salon.name("Ben"))
    status = await salon.until_idle(conversation)
    assert status.rejected == ()
    assert [member.state for member in status.roster.members] == ["active", "active", "muted"]


async def test_a_joiner_reads_what_its_catch_up_lets_it(salon: Salon) -> None:
    await salon.agents("Full", "None", "Last")
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    await salon.client.conversations.handle(conversation).members.add(salon.name("Full"))
    await salon.client.conversations.handle(conversation).members.add(salon.name("None"), catch_up="none")
    await salon.client.conversations.handle(conversation).members.add(salon.name("Last"), catch_up="last:2")
    await salon.until(conversation, lambda status: status.roster.epoch == 4)
    members = {
        member.name: member.visible_from
        for member in await salon.client.conversations.handle(conversation).members.list()
    }
    assert members[salon.name("Full")] == 0
    assert members[salon.name("None")] == 3
    assert members[salon.name("Last")] == 1


async def test_one_who_comes_back_goes_on_from_its_cursor(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    await salon.client.conversations.handle(conversation).members.remove(salon.name("Ana"))
    await salon.client.conversations.handle(conversation).post("While Ana is away.")
    await salon.until_idle(conversation, rounds=2)
    await salon.client.conversations.handle(conversation).members.add(salon.name("Ana"), catch_up="none")
    await salon.until(conversation, lambda status: status.roster.epoch == 3)
    members = {member.name: member for member in await salon.client.conversations.handle(conversation).members.list()}
    assert members[salon.name("Ana")].cursor == 2
    assert members[salon.name("Ana")].visible_from == 0


async def test_the_last_member_may_leave_and_the_talk_goes_on_when_someone_joins(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    for short in ("Ana", "Ben"):
        await salon.client.conversations.handle(conversation).members.remove(salon.name(short))
    await salon.client.conversations.handle(conversation).post("Anyone?")
    status = await salon.until(conversation, lambda status: status.phase == "paused")
    assert status.paused_because == "no_available_participants"
    await salon.client.conversations.handle(conversation).members.add(salon.name("Ben"))
    await salon.until_idle(conversation, rounds=2)
    assert (await salon.speakers(conversation))[2:] == ["Ben"]


async def test_fifty_commands_while_turns_run_are_applied_once_in_order_and_the_rotation_stays_fair(
    salon: Salon,
) -> None:
    shorts = [f"M{number}" for number in range(10)]
    await salon.agents(*shorts)
    group = await salon.group_of(
        [salon.name(short) for short in shorts[:5]], {"manager_type": "round_robin", "max_turns": 100_000}
    )
    await salon.model.behave(delay_ms=20)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    accepted, refused = await _fifty_commands(salon, conversation, shorts)
    assert len(accepted) + len(refused) == 50
    assert len(refused) >= 5
    assert all(refused.values())
    await salon.until(conversation, lambda status: not status.pending.commands)
    changes = await salon.client.conversations.handle(conversation).members.changes()
    assert [change.command_id for change in changes] == accepted
    assert [change.epoch for change in changes] == list(range(2, len(accepted) + 2))
    await salon.client.conversations.handle(conversation).stop()
    await salon.until(conversation, lambda status: status.phase == "closed")
    turns = await salon.turns(conversation)
    assert all(first.speaker != second.speaker for first, second in itertools.pairwise(turns))
    spoken = [sum(turn.speaker == salon.name(short) for turn in turns) for short in ("M0", "M1")]
    assert abs(spoken[0] - spoken[1]) <= 1, "those two never left"


async def _fifty_commands(salon: Salon, conversation: str, shorts: list[str]) -> tuple[list[str], dict[str, str]]:
    """Random changes of everyone but M0 and M1, some sent twice, some impossible; who was accepted, in order."""
    choice = random.Random(7)
    accepted: list[str] = []
    refused: dict[str, str] = {}
    for number in range(50):
        who = salon.name(choice.choice(shorts[2:]))
        command = choice.choice(["add_member", "remove_member", "mute_member", "unmute_member"])
        send = getattr(salon.client, command)
        command_id = f"command-{number}"
        try:
            first = await send(conversation, who, command_id=command_id)
            accepted.append(command_id)
            if number % 5 == 0:
                assert await send(conversation, who, command_id=command_id) == first
        except CommandRefused as error:
            refused[command_id] = str(error)
        await asyncio.sleep(choice.random() * 0.03)
    return accepted, refused


async def test_twelve_clients_post_at_the_same_moment_and_each_again(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)

    async def post(number: int) -> float:
        begun = asyncio.get_running_loop().time()
        await salon.client.conversations.handle(conversation).post(f"post {number}", message_id=f"post-{number}")
        return asyncio.get_running_loop().time() - begun

    # Those whom the server holds back wait a second each time; on a busy machine that may be so once.
    for first in range(0, 60, 12):
        numbers = range(first, first + 12)
        took = await asyncio.gather(*(post(number) for number in numbers))
        if max(took) < 1.0:
            break
    assert max(took) < 1.0
    again = await asyncio.gather(*(post(number) for number in numbers), return_exceptions=True)
    assert not [error for error in again if isinstance(error, BaseException)]
    await salon.until_idle(conversation, rounds=2)
    texts = [message.text for message in await salon.transcript(conversation)]
    assert sorted(text for text in texts if text.startswith("post ")) == sorted(f"post {n}" for n in range(first + 12))


async def test_more_messages_than_may_wait_are_refused_and_the_rest_is_kept(salon: Salon) -> None:
    group = await salon.group("Ana", max_pending_messages=3, intake="queue")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    await salon.client.conversations.handle(conversation).pause()
    for number in range(3):
        await salon.client.conversations.handle(conversation).post(f"post {number}")
    with pytest.raises(TertuliaError, match="3 messages wait already"):
        await salon.client.conversations.handle(conversation).post("one too many")
    await salon.client.conversations.handle(conversation).resume()
    await salon.until_idle(conversation, rounds=4)
    texts = [message.text for message in await salon.transcript(conversation)]
    assert [text for text in texts if text.startswith("post")] == ["post 0", "post 1", "post 2"]

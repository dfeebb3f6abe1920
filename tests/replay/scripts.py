"""The conversations with committed histories. Together they take every decision of the state machine."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from pydantic import JsonValue

from tertulia.core.activity_contracts import GroupChangeInput, PatchGroup
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.devstack.offline_model import Fault, Match
from tertulia.store.groups import find_group
from tertulia.testing import WorkflowHarness
from tertulia.workflows.group_change import GroupChange


async def round_robin_with_changes(harness: WorkflowHarness) -> str:
    """Every command as update and as signal, some of them refused; two rounds, a pause, a stop."""
    await harness.agents("Dora", "Ed")
    group = await harness.group("Ana", "Ben", "Cleo")
    conversation = await harness.start(group, "Shall the library open at night?")
    await harness.wait_until_idle(conversation)
    client, name, handle = harness.client, harness.name, harness.client.scope.workflow_handle(conversation)
    await client.conversations.handle(conversation).pause("to change the company")
    await client.conversations.handle(conversation).members.add(name("Dora"), position=0)
    await client.conversations.handle(conversation).members.replace(name("Ben"), name("Ed"))
    await handle.signal("mute_member", {"agent": name("Ana")})
    await handle.signal("add_member", {"agent": "nobody"})
    await client.conversations.handle(conversation).members.reorder(
        [name(short) for short in ("Cleo", "Ana", "Ed", "Dora")]
    )
    await handle.signal("unmute_member", {"agent": name("Ana")})
    await client.conversations.handle(conversation).members.remove(name("Dora"))
    await client.conversations.handle(conversation).update_settings({"max_turns": 2})
    await client.conversations.handle(conversation).post("Who keeps the keys?")
    await client.conversations.handle(conversation).resume()
    await change_of_group(harness, group)
    await harness.wait_until_idle(conversation, rounds=2)
    await client.conversations.handle(conversation).stop("recorded")
    return conversation


async def change_of_group(harness: WorkflowHarness, group: str) -> str:
    """Change a group's order and description; return the id of the change's workflow."""
    found = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, group)
    fields: dict[str, JsonValue] = {"agent_ids": [*reversed(found.agent_ids)], "description": "A table outside."}
    change = PatchGroup(group_id=found.id, fields=fields)
    change_id = f"group-change-{uuid.uuid4()}"
    await harness.client.scope.temporal.execute_workflow(
        GroupChange.run,
        GroupChangeInput(organisation_id=DEFAULT_ORGANISATION, change=change),
        id=change_id,
        task_queue=harness.client.scope.connection.task_queue,
    )
    return change_id


async def dynamic_with_failures(harness: WorkflowHarness) -> str:
    """A manager that selects, errs and fails; a speaker that fails; a finish; continue-as-new."""
    await harness.agents("Host", instructions="Finish after 5 turns.")
    manager = {"manager_type": "dynamic", "manager_agent_id": harness.name("Host"), "max_turns": 20}
    group = await harness.group("Ana", "Ben", "Cleo", manager=manager)
    await harness.model.set_behaviour(
        Fault(kind="bad_choice", times=1, match=Match(tool="choose_next_participant")),
        Fault(kind="server_error", times=2, match=Match(speaker=harness.name("Ben"))),
    )
    conversation = await harness.start(group, "What is a fair rent?", continue_as_new_after_turns=4)
    await harness.wait_until_idle(conversation)
    await harness.model.set_behaviour(Fault(kind="server_error", match=Match(tool="choose_next_participant")))
    await harness.handle(conversation).update_settings({"max_turns": 3})
    await harness.handle(conversation).post("And for a shop?")
    await harness.wait_until_idle(conversation, rounds=2)
    await harness.handle(conversation).stop()
    return conversation


async def dynamic_under_rules_2(harness: WorkflowHarness) -> str:
    """A dynamic group without `max_turns`, and a budget of calls of which the last one is kept for the conclusion.

    The history `dynamic_without_max_turns` is the same group under rules 1: 20 turns.
    """
    await harness.agents("Host", instructions="Finish after 30 turns.")
    manager = {"manager_type": "dynamic", "manager_agent_id": harness.name("Host")}
    group = await harness.group("Ana", "Ben", "Cleo", manager=manager)
    conversation = await harness.start(group, "What is a fair price for water?")
    ended = await harness.wait_until_idle(conversation)
    assert ended.turn == 3, "one for each active member"
    calls = ended.usage.model_calls
    await harness.handle(conversation).update_settings({"budgets": [{"model_calls": calls + 4}]})
    await harness.handle(conversation).post("And for air?")
    closed = await harness.wait_until(conversation, lambda status: status.phase == "closed")
    assert (closed.turn, closed.usage.model_calls) == (5, calls + 3), "one turn and the conclusion"
    return conversation


async def parts_that_fail_and_return(harness: WorkflowHarness) -> str:
    """A stand-in, a probed outage, a reinstatement; a fallback manager; a budget that concludes."""
    await harness.agents("Host", "Deputy")
    host = harness.name("Host")
    group = await harness.group(
        "Ana", "Ben",
        standby=["Sam"],
        manager={
            "manager_type": "dynamic",
            "manager_agent_id": host,
            "fallback_manager_ids": [harness.name("Deputy")],
            "max_turns": 5,
        },
        probe_initial_seconds=0.1,
        probe_maximum_seconds=0.4,
        isolate_after_failures=1,
        cool_down_turns=50,
    )  # fmt: skip
    ben = harness.name("Ben")
    await harness.model.set_behaviour(
        Fault(kind="server_error", times=2, match=Match(speaker=ben)),
        Fault(kind="server_error", times=2, match=Match(speaker=host)),
    )
    conversation = await harness.start(group, "Who waters the plants?")
    await harness.wait_until_idle(conversation)
    await harness.model.set_behaviour(Fault(kind="server_error"))
    await harness.handle(conversation).post("And in August?")
    await harness.wait_until(conversation, lambda status: status.phase == "paused")
    await harness.handle(conversation).members.reinstate(ben)
    resting = await harness.wait_until(conversation, lambda status: status.phase == "paused" and status.turn > 9)
    await harness.wait_until(conversation, lambda status: status.turn >= resting.turn + 2)
    await harness.model.reset()
    await harness.wait_until_idle(conversation, rounds=2)
    await harness.handle(conversation).update_settings({"budgets": [{"model_calls": 1}]})
    await harness.handle(conversation).post("Then who?")
    return conversation


async def removed_while_speaking(harness: WorkflowHarness) -> str:
    """A member whose message is discarded, and one whose call is cancelled."""
    group = await harness.group("Ana", "Ben", "Cleo")
    await harness.model.set_behaviour(delay_ms=700)
    conversation = await harness.start(group, "Shall we sell the piano?")
    for short, policy in (("Ana", "discard"), ("Ben", "cancel")):
        name = harness.name(short)
        await harness.wait_until(conversation, lambda status, name=name: status.speaking == name)  # type: ignore[misc]
        await harness.handle(conversation).members.remove(name, in_flight=policy)
    await harness.model.set_behaviour(delay_ms=0)
    await harness.wait_until_idle(conversation)
    await harness.handle(conversation).stop()
    return conversation


async def closes_by_itself(harness: WorkflowHarness) -> str:
    """One round, then closed."""
    group = await harness.group("Ana", "Ben")
    return await harness.start(group, "Good night.", close_after_round=True)


async def cancelled(harness: WorkflowHarness) -> str:
    """Cancelled during a model call."""
    group = await harness.group("Ana", "Ben")
    await harness.model.set_behaviour(delay_ms=5_000)
    conversation = await harness.start(group, "Are you there?")
    await harness.wait_until(conversation, lambda status: status.speaking == harness.name("Ana"))
    await asyncio.sleep(0.2)
    await harness.client.scope.workflow_handle(conversation).cancel()
    return conversation


SCRIPTS: tuple[Callable[[WorkflowHarness], Awaitable[str]], ...] = (
    round_robin_with_changes,
    dynamic_with_failures,
    dynamic_under_rules_2,
    parts_that_fail_and_return,
    removed_while_speaking,
    closes_by_itself,
    cancelled,
)

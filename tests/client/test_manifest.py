"""Applying a changed manifest updates stored definitions and notifies running conversations."""

import pytest

from tertulia.client.manifest import ApplyResult, Manifest
from tertulia.core.errors import InvalidDefinition
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.store.groups import find_group
from tertulia.testing.workflow_harness import FAST_RETRIES, WorkflowHarness


async def apply_group(harness: WorkflowHarness, name: str, **fields: object) -> ApplyResult:
    spec = {"name": name, "description": "A table.", "settings": FAST_RETRIES, **fields}
    (result,) = await harness.client.apply(Manifest.model_validate({"groups": [spec]}))
    return result


async def test_apply_changes_running_conversation(harness: WorkflowHarness) -> None:
    ana, ben, cleo = await harness.agents("Ana", "Ben", "Cleo")
    name = harness.name("Table")
    assert (await apply_group(harness, name, agents=[ana, ben])).outcome == "created"
    assert (await apply_group(harness, name, agents=[ana, ben])).outcome == "unchanged"
    talk = await harness.start(name, "Hello.")
    await harness.wait_until_idle(talk)
    result = await apply_group(
        harness, name, agents=[cleo, ana], manager_config={"manager_type": "round_robin", "max_turns": 3}
    )
    assert result.outcome == "updated"
    await harness.wait_until(talk, lambda status: [member.name for member in status.roster.members] == [cleo, ana])
    await harness.handle(talk).post("Again.")
    await harness.wait_until_idle(talk, rounds=2)
    assert (await harness.speakers(talk))[2:] in (["Ana", "Cleo", "Ana"], ["Cleo", "Ana", "Cleo"])
    found = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, result.id)
    assert (found.revision, found.manager_config.max_turns) == (2, 3)


async def test_apply_replaces_shared_memory_if_given(harness: WorkflowHarness) -> None:
    (ana,) = await harness.agents("Ana")
    name = harness.name("Table")
    facts, plan = {"label": "facts", "value": "x"}, {"label": "plan", "value": "p"}
    result = await apply_group(harness, name, agents=[ana], shared_memory=[facts])

    async def shared() -> list[tuple[str, str]]:
        found = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, result.id)
        return [(block.label, block.value) for block in found.shared_memory]

    assert (await apply_group(harness, name, agents=[ana])).outcome == "unchanged"
    assert await shared() == [("facts", "x")]
    assert (
        await apply_group(harness, name, agents=[ana], shared_memory=[plan, {**facts, "value": "y"}])
    ).outcome == "updated"
    assert await shared() == [("plan", "p"), ("facts", "y")]
    assert (
        await apply_group(harness, name, agents=[ana], shared_memory=[plan, {**facts, "value": "z"}])
    ).outcome == "updated"
    assert await shared() == [("plan", "p"), ("facts", "z")]
    assert (await apply_group(harness, name, agents=[ana], shared_memory=[])).outcome == "updated"
    assert await shared() == []


async def test_apply_cannot_change_manager_type(harness: WorkflowHarness) -> None:
    ana, host = await harness.agents("Ana", "Host")
    name = harness.name("Table")
    await apply_group(harness, name, agents=[ana])
    with pytest.raises(InvalidDefinition, match="Cannot change group pattern after creation"):
        await apply_group(
            harness, name, agents=[ana], manager_config={"manager_type": "dynamic", "manager_agent_id": host}
        )

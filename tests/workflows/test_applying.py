"""A file that is applied again changes what is there, and tells the conversations that run."""

import pytest

from tertulia.client.manifest import ApplyResult, Manifest
from tertulia.core.errors import InvalidDefinition
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.store.groups import find_group
from tests.workflows.salon import FAST, Salon


async def applied(salon: Salon, name: str, **fields: object) -> ApplyResult:
    written = {"name": name, "description": "A table.", "settings": FAST, **fields}
    (line,) = await salon.client.apply(Manifest.model_validate({"groups": [written]}))
    return line


async def test_a_group_that_is_written_otherwise_changes_in_its_running_conversations(salon: Salon) -> None:
    ana, ben, cleo = await salon.agents("Ana", "Ben", "Cleo")
    name = salon.name("Table")
    assert (await applied(salon, name, agents=[ana, ben])).outcome == "created"
    assert (await applied(salon, name, agents=[ana, ben])).outcome == "unchanged"
    talk = (await salon.client.conversations.create(name, "Hello.")).id
    await salon.until_idle(talk)
    line = await applied(
        salon, name, agents=[cleo, ana], manager_config={"manager_type": "round_robin", "max_turns": 3}
    )
    assert line.outcome == "updated"
    await salon.until(talk, lambda status: [member.name for member in status.roster.members] == [cleo, ana])
    await salon.client.conversations.handle(talk).post("Again.")
    await salon.until_idle(talk, rounds=2)
    assert (await salon.speakers(talk))[2:] in (["Ana", "Cleo", "Ana"], ["Cleo", "Ana", "Cleo"])
    found = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, line.id)
    assert (found.revision, found.manager_config.max_turns) == (2, 3)


async def test_what_a_file_says_is_shared_is_exactly_that_and_what_it_leaves_out_stays(salon: Salon) -> None:
    (ana,) = await salon.agents("Ana")
    name = salon.name("Table")
    facts, plan = {"label": "facts", "value": "x"}, {"label": "plan", "value": "p"}
    line = await applied(salon, name, agents=[ana], shared_memory=[facts])

    async def shared() -> list[tuple[str, str]]:
        found = await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, line.id)
        return [(block.label, block.value) for block in found.shared_memory]

    assert (await applied(salon, name, agents=[ana])).outcome == "unchanged"
    assert await shared() == [("facts", "x")]
    assert (
        await applied(salon, name, agents=[ana], shared_memory=[plan, {**facts, "value": "y"}])
    ).outcome == "updated"
    assert await shared() == [("plan", "p"), ("facts", "y")]
    assert (
        await applied(salon, name, agents=[ana], shared_memory=[plan, {**facts, "value": "z"}])
    ).outcome == "updated"
    assert await shared() == [("plan", "p"), ("facts", "z")]
    assert (await applied(salon, name, agents=[ana], shared_memory=[])).outcome == "updated"
    assert await shared() == []


async def test_how_the_next_speaker_is_chosen_cannot_be_written_otherwise(salon: Salon) -> None:
    ana, host = await salon.agents("Ana", "Host")
    name = salon.name("Table")
    await applied(salon, name, agents=[ana])
    with pytest.raises(InvalidDefinition, match="Cannot change group pattern after creation"):
        await applied(salon, name, agents=[ana], manager_config={"manager_type": "dynamic", "manager_agent_id": host})

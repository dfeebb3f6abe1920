"""`Tertulia.apply` on every backend."""

from pathlib import Path

import pytest

from tertulia import ApplyResult, Conflict, InvalidDefinition, Manifest, Tertulia, read_manifest
from tests.client.conformance.conftest import Pair, new_id

MANIFEST = """
agents:
  - name: Zoë
    instructions: "You are Zoë. ☕"
    description: écrivaine
    model: {model: offline-zoe, temperature: 0.3, fallbacks: [{model: offline-other}]}
    memory:
      - {label: notes, value: "zwei\\nZeilen"}
  - name: Ben
  - name: Cleo
  - name: Manager
groups:
  - name: Salon ü
    description: A table.
    agents: [Zoë, ben]
    standby: [{agent: Cleo, stands_in_for: Ben}]
    manager_config: {manager_type: dynamic, manager_agent_id: Manager, max_turns: 4}
    shared_memory:
      - {label: rules, value: Be brief.}
    settings: {context_tokens: 3000}
"""


def manifest_of(tmp_path: Path, content: str) -> Manifest:
    path = tmp_path / "manifest.yaml"
    path.write_text(content, encoding="utf-8")
    return read_manifest(path)


def outcomes(results: list[ApplyResult]) -> list[str]:
    return [one.outcome for one in results]


async def test_apply_creates_then_changes_nothing(pair: Pair, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, MANIFEST)
    created = await pair.client.apply(manifest)
    assert outcomes(created) == ["created"] * 5
    agents = await pair.same(lambda client: client.agents.list())
    (group,) = await pair.same(lambda client: client.groups.list())
    assert [agent.id for agent in agents] + [group.group.id] == [one.id for one in created]
    again = await pair.same(lambda client: client.apply(manifest))
    assert outcomes(again) == ["unchanged"] * 5
    assert await pair.same(lambda client: client.agents.list()) == agents
    assert await pair.same(lambda client: client.groups.list()) == [group]


async def test_apply_updates_what_changed(pair: Pair, tmp_path: Path) -> None:
    await pair.client.apply(manifest_of(tmp_path, MANIFEST))
    content = MANIFEST.replace("zwei", "drei").replace("max_turns: 4", "max_turns: 5").replace("Be brief", "Be long")
    updated = await pair.client.apply(manifest_of(tmp_path, content))
    assert outcomes(updated) == ["updated", "unchanged", "unchanged", "unchanged", "updated"]
    (group,) = await pair.same(lambda client: client.groups.list())
    assert [one.value for one in group.group.shared_memory] == ["Be long."]
    assert (await pair.same(lambda client: client.agents.find("zoë"))).blocks[0].value == "drei\nZeilen"
    without_memory = manifest_of(tmp_path, "agents: [{name: Ben, description: new}]")
    assert outcomes(await pair.client.apply(without_memory)) == ["updated"]


async def test_apply_equals_over_both_backends(pair: Pair, tmp_path: Path) -> None:
    def shape(value: object) -> object:
        ignored = {"id", "created_at", "updated_at", "agent_ids", "shared_block_ids", "standby", "manager_config"}
        if isinstance(value, dict):
            return {key: shape(one) for key, one in value.items() if key not in ignored}
        return [shape(one) for one in value] if isinstance(value, list | tuple) else value

    async def state(client: Tertulia) -> object:
        rows = [one.model_dump(mode="json") for one in await client.agents.list()]
        return shape([*rows, *(one.model_dump(mode="json") for one in await client.groups.list())])

    await pair.client.apply(manifest_of(tmp_path, MANIFEST))
    first = await state(pair.client)
    for group in await pair.client.groups.list():
        await pair.client.groups.delete(group.group.id)
    for agent in await pair.client.agents.list():
        await pair.client.agents.delete(agent.id)
    await pair.other.apply(manifest_of(tmp_path, MANIFEST))
    assert await state(pair.other) == first


@pytest.mark.parametrize(
    "content",
    [
        "groups: [{name: G, agents: [nobody]}]",
        "groups: [{name: G, manager_config: {manager_type: dynamic, manager_agent_id: nobody}}]",
        "groups: [{name: G, manager_config: {manager_type: swarm}}]",
        "agents: [{name: Ana, memory: [{label: a, value: x}, {label: a, value: y}]}]",
        "groups: [{name: G, shared_memory: [{label: a, value: x}, {label: a, value: y}]}]",
        "agents: [{name: A1}]\ngroups: [{name: G, agents: [A1, a1]}]",
    ],
)
async def test_invalid_manifest_is_refused_alike(pair: Pair, tmp_path: Path, content: str) -> None:
    manifest = manifest_of(tmp_path, content)
    assert isinstance(await pair.same_error(lambda client: client.apply(manifest)), InvalidDefinition)
    assert await pair.same(lambda client: client.groups.count()) == 0
    assert await pair.same(lambda client: client.blocks.count()) == 0


async def test_apply_refuses_taken_names(pair: Pair, tmp_path: Path) -> None:
    await pair.client.agents.create(name="Ana")
    manifest = manifest_of(tmp_path, f"agents: [{{id: {new_id('a')}, name: ana}}]")
    assert isinstance(await pair.same_error(lambda client: client.apply(manifest)), Conflict)

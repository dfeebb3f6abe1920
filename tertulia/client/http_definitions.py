"""Definitions of manifests, stored through the REST API."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from pydantic import JsonValue, TypeAdapter

from tertulia.client.http_connection import HttpConnection
from tertulia.client.http_paths import agent_path, block_path, group_path
from tertulia.client.http_shapes import AGENT, AGENTS, BLOCK, GROUP, GROUPS, AgentShape
from tertulia.core.agents import Agent
from tertulia.core.blocks import DEFAULT_BLOCK_LIMIT, Block, MemoryBlock
from tertulia.core.errors import InvalidDefinition, NotFound, TertuliaError
from tertulia.core.group import Group
from tertulia.core.ids import AgentId, BlockId, GroupId
from tertulia.core.patches import GroupPatch
from tertulia.core.records import SaveOutcome

T = TypeVar("T")

_GROUP_FIELDS = {"id", "name", "description", "agent_ids", "standby", "manager_config", "settings"}


class HttpDefinitions:
    """The agents and groups of the key's organisation, as `DefinitionStore`."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        # A manifest names its agents several times: each is read once.
        self._agents: dict[AgentId, AgentShape] = {}
        self._ids: dict[str, AgentId] = {}

    async def find_agent(self, id_or_name: str) -> AgentId:
        if id_or_name not in self._ids:
            found = await self._find(AGENT, AGENTS, "/agents/", agent_path, id_or_name)
            self._agents[found.id] = found
            self._ids[id_or_name] = found.id
        return self._ids[id_or_name]

    async def save_agent(self, agent: Agent, *, keep_memory: bool) -> SaveOutcome:
        existing = self._agents.pop(agent.id, None) or await self._agent_by_id(agent.id)
        self._ids = {id_or_name: agent_id for id_or_name, agent_id in self._ids.items() if agent_id != agent.id}
        memory = None if keep_memory else agent.memory
        if memory is not None:
            _check_unique_labels(memory)
        if existing is None:
            await self._create_agent(agent, memory or ())
            return "created"
        return await self._change_agent(existing, agent, memory)

    async def find_group(self, id_or_name: str) -> Group:
        return (await self._find(GROUP, GROUPS, "/groups/", group_path, id_or_name)).group

    async def create_group(self, group: Group, *, keep_memory: bool) -> SaveOutcome:
        memory = () if keep_memory else group.shared_memory
        _check_unique_labels(memory)
        new_block_ids: list[BlockId] = []
        try:
            for text in memory:
                new_block_ids.append(await self._create_block(text))
            body = group.model_dump(mode="json", include=_GROUP_FIELDS) | {"shared_block_ids": new_block_ids}
            await self._connection.post(GROUP, "/groups/", body)
        except TertuliaError:
            await self._delete_blocks(new_block_ids)
            raise
        return "created"

    async def write_shared_blocks(
        self, group: Group, memory: tuple[MemoryBlock, ...]
    ) -> tuple[tuple[BlockId, ...], bool]:
        blocks = [await self._connection.get(BLOCK, block_path(block_id)) for block_id in group.shared_block_ids]
        return await self._write_blocks(blocks, memory)

    async def change_group(self, group_id: GroupId, patch: GroupPatch) -> None:
        body = patch.model_dump(mode="json", include=patch.model_fields_set)
        await self._connection.patch(GROUP, group_path(group_id), body)

    async def _create_agent(self, agent: Agent, memory: Sequence[MemoryBlock]) -> None:
        body = {"id": agent.id, **_agent_fields(agent), "memory_blocks": [_block_body(text) for text in memory]}
        await self._connection.post(AGENT, "/agents/", body)

    async def _change_agent(
        self, existing: AgentShape, agent: Agent, memory: Sequence[MemoryBlock] | None
    ) -> SaveOutcome:
        before = {**existing.model_dump(mode="json"), "model_settings": existing.model_settings.model_dump(mode="json")}
        patch = {name: value for name, value in _agent_fields(agent).items() if value != before[name]}
        changed = False
        if memory is not None:
            ids, changed = await self._write_blocks(existing.memory.blocks, memory)
            if ids != tuple(block.id for block in existing.memory.blocks):
                patch["block_ids"] = [*ids]
        if patch:
            await self._connection.patch(AGENT, agent_path(agent.id), patch)
        return "updated" if patch or changed else "unchanged"

    async def _write_blocks(
        self, existing: Iterable[Block], memory: Sequence[MemoryBlock]
    ) -> tuple[tuple[BlockId, ...], bool]:
        """Write these texts without attaching new blocks; return the ids in order, and whether a value changed."""
        _check_unique_labels(memory)
        by_label = {block.label: block for block in reversed([*existing])}
        ids, changed = [], False
        for text in memory:
            block = by_label.get(text.label)
            if block is None:
                ids.append(await self._create_block(text))
                continue
            ids.append(block.id)
            if block.value != text.value:
                value = {"value": text.value, "limit": max(block.limit, len(text.value))}
                await self._connection.patch(BLOCK, block_path(block.id), value)
                changed = True
        return tuple(ids), changed

    async def _create_block(self, text: MemoryBlock) -> BlockId:
        return (await self._connection.post(BLOCK, "/blocks/", _block_body(text))).id

    async def _delete_blocks(self, new_block_ids: Iterable[BlockId]) -> None:
        """Delete blocks that were created for a group that could not be created."""
        for block_id in new_block_ids:
            try:
                await self._connection.delete(block_path(block_id))
            except TertuliaError:
                return

    async def _agent_by_id(self, agent_id: str) -> AgentShape | None:
        try:
            return await self._connection.get(AGENT, agent_path(agent_id))
        except NotFound:
            return None

    async def _find(
        self,
        one: TypeAdapter[T],
        several: TypeAdapter[list[T]],
        list_path: str,
        path_of: Callable[[str], str],
        id_or_name: str,
    ) -> T:
        """Return the resource with this id or, failing that, with this name.

        Raises:
            NotFound: neither; the message is the one for an unknown id.
        """
        try:
            return await self._connection.get(one, path_of(id_or_name))
        except NotFound:
            named = await self._connection.get(several, list_path, name=id_or_name, limit=1)
            if not named:
                raise
            return named[0]


def _agent_fields(agent: Agent) -> dict[str, JsonValue]:
    """Return the fields of an agent in the API, without its id and its blocks."""
    return {
        "name": agent.name,
        "description": agent.description,
        "system": agent.instructions,
        "model_settings": agent.model.model_dump(mode="json"),
    }


def _block_body(text: MemoryBlock) -> dict[str, JsonValue]:
    return {"label": text.label, "value": text.value, "limit": max(DEFAULT_BLOCK_LIMIT, len(text.value))}


def _check_unique_labels(memory: Sequence[MemoryBlock]) -> None:
    labels = [text.label for text in memory]
    if duplicates := sorted({label for label in labels if labels.count(label) > 1}):
        raise InvalidDefinition(f"memory: two blocks have the label {duplicates[0]!r}")

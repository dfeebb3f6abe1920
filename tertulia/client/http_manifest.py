"""The API as the shelf from which a file of agents and groups is compared and to which it is written."""

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from pydantic import JsonValue, TypeAdapter

from tertulia.client.http_connection import Connection, segment
from tertulia.core.agents import Agent, ModelSettings
from tertulia.core.base import Record
from tertulia.core.blocks import DEFAULT_BLOCK_LIMIT, MemoryBlock
from tertulia.core.errors import InvalidDefinition, NotFound, TertuliaError
from tertulia.core.group import Group
from tertulia.core.ids import AgentId, BlockId, GroupId
from tertulia.core.patches import GroupPatch
from tertulia.core.records import SaveOutcome

T = TypeVar("T")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_COUNT = "count"
"""Not an id in a path, but a question of its own."""


class _Block(Record):
    id: BlockId
    label: str
    value: str
    limit: int


class _Memory(Record):
    blocks: tuple[_Block, ...]


class _Agent(Record):
    id: AgentId
    name: str
    description: str
    system: str
    model_settings: ModelSettings
    memory: _Memory


class _Group(Record):
    id: GroupId
    name: str
    description: str
    agent_ids: tuple[AgentId, ...]
    standby: tuple[JsonValue, ...]
    manager_config: dict[str, JsonValue]
    settings: dict[str, JsonValue]
    shared_block_ids: tuple[BlockId, ...]
    metadata: dict[str, JsonValue]
    revision: int


_AGENT = TypeAdapter(_Agent)
_AGENTS = TypeAdapter(list[_Agent])
_GROUP = TypeAdapter(_Group)
_GROUPS = TypeAdapter(list[_Group])
_BLOCK = TypeAdapter(_Block)
_GROUP_FIELDS = {"id", "name", "description", "agent_ids", "standby", "manager_config", "settings"}


class RemoteShelf:
    """The agents and groups of the key's organisation."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._agents: dict[AgentId, _Agent] = {}
        self._ids: dict[str, AgentId] = {}

    async def find_agent(self, who: str) -> AgentId:
        if who not in self._ids:
            found = await self._agent_by_id_or_name(who)
            if found is None:
                raise NotFound(f"no such agent: {who!r}")
            self._agents[found.id] = found
            self._ids[who] = found.id
        return self._ids[who]

    async def save_agent(self, agent: Agent, *, keep_memory: bool) -> SaveOutcome:
        present = self._agents.pop(agent.id, None) or await self._agent_by_id(agent.id)
        self._ids = {who: agent_id for who, agent_id in self._ids.items() if agent_id != agent.id}
        memory = None if keep_memory else agent.memory
        if memory is not None:
            _refuse_twice(memory)
        if present is None:
            await self._create_agent(agent, memory or ())
            return "created"
        return await self._change_agent(present, agent, memory)

    async def find_group(self, which: str) -> Group:
        found = await self._group_by_id_or_name(which)
        if found is None:
            raise NotFound(f"no such group: {which!r}")
        return Group.model_validate(found.model_dump())

    async def create_group(self, group: Group, *, keep_memory: bool) -> SaveOutcome:
        memory = () if keep_memory else group.shared_memory
        _refuse_twice(memory)
        made: list[BlockId] = []
        try:
            for text in memory:
                made.append(await self._new_block(text))
            body = group.model_dump(mode="json", include=_GROUP_FIELDS) | {"shared_block_ids": made}
            await self._connection.post(_GROUP, "/groups/", body)
        except TertuliaError:
            await self._discard(made)
            raise
        return "created"

    async def write_shared(self, group: Group, memory: tuple[MemoryBlock, ...]) -> tuple[tuple[BlockId, ...], bool]:
        blocks = [
            await self._connection.get(_BLOCK, f"/blocks/{segment(block_id)}") for block_id in group.shared_block_ids
        ]
        return await self._write_texts(blocks, memory)

    async def change_group(self, group_id: GroupId, patch: GroupPatch) -> None:
        body = patch.model_dump(mode="json", include=patch.model_fields_set)
        await self._connection.patch(_GROUP, f"/groups/{segment(group_id)}", body)

    async def _create_agent(self, agent: Agent, memory: Sequence[MemoryBlock]) -> None:
        body = {"id": agent.id, **_described(agent), "memory_blocks": [_draft(text) for text in memory]}
        await self._connection.post(_AGENT, "/agents/", body)

    async def _change_agent(self, present: _Agent, agent: Agent, memory: Sequence[MemoryBlock] | None) -> SaveOutcome:
        before = {**present.model_dump(mode="json"), "model_settings": present.model_settings.model_dump(mode="json")}
        patch = {name: value for name, value in _described(agent).items() if value != before[name]}
        changed = False
        if memory is not None:
            ids, changed = await self._write_texts(present.memory.blocks, memory)
            if ids != tuple(block.id for block in present.memory.blocks):
                patch["block_ids"] = [*ids]
        if patch:
            await self._connection.patch(_AGENT, f"/agents/{segment(agent.id)}", patch)
        return "updated" if patch or changed else "unchanged"

    async def _write_texts(
        self, present: Iterable[_Block], memory: Sequence[MemoryBlock]
    ) -> tuple[tuple[BlockId, ...], bool]:
        """The blocks of these texts, in this order, and whether a value has changed; they are not attached yet."""
        _refuse_twice(memory)
        by_label = {block.label: block for block in reversed([*present])}
        ids, changed = [], False
        for text in memory:
            block = by_label.get(text.label)
            if block is None:
                ids.append(await self._new_block(text))
                continue
            ids.append(block.id)
            if block.value != text.value:
                value = {"value": text.value, "limit": max(block.limit, len(text.value))}
                await self._connection.patch(_BLOCK, f"/blocks/{segment(block.id)}", value)
                changed = True
        return tuple(ids), changed

    async def _new_block(self, text: MemoryBlock) -> BlockId:
        return (await self._connection.post(_BLOCK, "/blocks/", _draft(text))).id

    async def _discard(self, made: Iterable[BlockId]) -> None:
        """Take away what was made for a group that could not be made."""
        for block_id in made:
            try:
                await self._connection.delete(f"/blocks/{segment(block_id)}")
            except TertuliaError:
                return

    async def _agent_by_id(self, agent_id: str) -> _Agent | None:
        return await self._by_id(_AGENT, "agents", agent_id)

    async def _agent_by_id_or_name(self, who: str) -> _Agent | None:
        if found := await self._agent_by_id(who):
            return found
        named = await self._connection.get(_AGENTS, "/agents/", name=who, limit=1)
        return named[0] if named else None

    async def _group_by_id_or_name(self, which: str) -> _Group | None:
        if found := await self._by_id(_GROUP, "groups", which):
            return found
        named = await self._connection.get(_GROUPS, "/groups/", name=which, limit=1)
        return named[0] if named else None

    async def _by_id(self, kind: TypeAdapter[T], what: str, one: str) -> T | None:
        if not _ID.fullmatch(one) or one == _COUNT:
            return None
        try:
            return await self._connection.get(kind, f"/{what}/{segment(one)}")
        except NotFound:
            return None


def _described(agent: Agent) -> dict[str, JsonValue]:
    """What the API has of an agent, beside its id and its blocks."""
    return {
        "name": agent.name,
        "description": agent.description,
        "system": agent.instructions,
        "model_settings": agent.model.model_dump(mode="json"),
    }


def _draft(text: MemoryBlock) -> dict[str, JsonValue]:
    return {"label": text.label, "value": text.value, "limit": max(DEFAULT_BLOCK_LIMIT, len(text.value))}


def _refuse_twice(memory: Sequence[MemoryBlock]) -> None:
    labels = [text.label for text in memory]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise InvalidDefinition(f"memory: two blocks bear the label {twice[0]!r}")

"""`Tertulia.agents`."""

import builtins
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import JsonValue

from tertulia.client.backend import AgentBackend
from tertulia.client.paging import read_list
from tertulia.core.agents import AgentFilter, AgentPatch, ModelSettings, NewAgent, StoredAgent
from tertulia.core.base import validated
from tertulia.core.blocks import DEFAULT_BLOCK_LIMIT
from tertulia.core.errors import NotFound
from tertulia.core.paging import Order


class Agents:
    """The agents of the organisation."""

    def __init__(self, backend: AgentBackend) -> None:
        self._backend = backend

    async def create(
        self,
        *,
        name: str | None = None,
        instructions: str = "",
        description: str = "",
        model: str | ModelSettings | Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        memory: Mapping[str, str] | None = None,
        block_ids: Sequence[str] = (),
        metadata: Mapping[str, JsonValue] | None = None,
        id: str | None = None,
    ) -> StoredAgent:
        """Create an agent.

        Args:
            name: display name, unique in the organisation; one is generated if it is None.
            instructions: the persona, part of the system prompt; at most 100,000 characters.
            description: one line that managers and other members read; at most 2,000 characters.
            model: the model's name or its settings; None = the worker's `TERTULIA_MODEL`.
            tags: for filters and for managers.
            memory: blocks created with the agent: text by label.
            block_ids: existing blocks to attach after those.
            metadata: JSON that Tertulia stores and does not read.
            id: 1 to 128 letters, digits, `.`, `_`, `-`; one is generated if it is None.

        Raises:
            InvalidDefinition: a value is invalid; the message names the field.
            Conflict: the name or the id is taken, or two blocks have one label.
            NotFound: no such block.
        """
        blocks = [
            {"label": label, "value": value, "limit": max(DEFAULT_BLOCK_LIMIT, len(value))}
            for label, value in (memory or {}).items()
        ]
        new = validated(
            NewAgent,
            id=id,
            name=name,
            description=description,
            instructions=instructions,
            model=_model(model),
            tags=tuple(tags),
            metadata=dict(metadata or {}),
            blocks=blocks,
            block_ids=tuple(block_ids),
        )
        return await self._backend.create(new)

    async def retrieve(self, agent_id: str) -> StoredAgent:
        """Return the agent with this id.

        Raises:
            NotFound: no such agent.
        """
        return await self._backend.retrieve(agent_id)

    async def find(self, id_or_name: str) -> StoredAgent:
        """Return the agent with this id or, failing that, with this name.

        Raises:
            NotFound: no such agent.
        """
        try:
            return await self._backend.retrieve(id_or_name)
        except NotFound:
            named = await self.list(name=id_or_name, limit=1)
            if not named:
                raise
            return named[0]

    async def list(
        self,
        *,
        name: str | None = None,
        query_text: str | None = None,
        tags: Sequence[str] = (),
        match_all_tags: bool = False,
        limit: int | None = None,
        order: Order = "asc",
    ) -> builtins.list[StoredAgent]:
        """Return the agents that match every given filter, all of them unless there is a `limit`.

        Args:
            name: the exact name, in any case.
            query_text: a part of the name, in any case.
            tags: agents with one of these tags or, with `match_all_tags`, with all of them.
            match_all_tags: see `tags`.
            limit: how many at most.
            order: `asc` = the oldest first.

        Raises:
            InvalidDefinition: a filter is invalid; the message names it.
        """
        filter = validated(
            AgentFilter, name=name, query_text=query_text, tags=tuple(tags), match_all_tags=match_all_tags
        )
        read = partial(self._backend.list, filter=filter)
        return await read_list(read, lambda agent: agent.id, limit=limit, order=order)

    async def count(self) -> int:
        """Return the number of agents."""
        return await self._backend.count()

    async def update(self, agent_id: str, *, expected_revision: int | None = None, **fields: Any) -> StoredAgent:
        """Update an agent. Its next turn in every conversation uses the new values.

        Args:
            agent_id: the agent.
            expected_revision: refuse the update if the agent has another revision.
            fields: of `AgentPatch`: name, description, instructions, model, tags, metadata, block_ids. Fields that are
                not given keep their value; None clears.

        Raises:
            NotFound: no such agent or block.
            InvalidDefinition: a value is invalid; the message names the field.
            Conflict: the revision is not the expected one, the name is taken, or two blocks have one label.
        """
        if isinstance(fields.get("model"), str):
            fields["model_name"] = fields.pop("model")
        patch = validated(AgentPatch, **fields)
        return await self._backend.update(agent_id, patch, expected_revision=expected_revision)

    async def delete(self, agent_id: str, *, force: bool = False) -> None:
        """Delete an agent.

        Args:
            agent_id: the agent.
            force: also remove it from all groups and running conversations.

        Raises:
            NotFound: no such agent.
            Conflict: groups have the agent as a member or manager (without `force`).
        """
        await self._backend.delete(agent_id, force=force)

    async def attach_block(self, agent_id: str, block_id: str) -> StoredAgent:
        """Attach a block as the last one; an attached block keeps its place.

        Raises:
            NotFound: no such agent or block.
            Conflict: the agent has another block with this label.
        """
        return await self._backend.attach_block(agent_id, block_id)

    async def detach_block(self, agent_id: str, block_id: str) -> StoredAgent:
        """Detach a block; the block itself stays.

        Raises:
            NotFound: no such agent, or the block is not attached.
        """
        return await self._backend.detach_block(agent_id, block_id)


def _model(model: str | ModelSettings | Mapping[str, Any] | None) -> object:
    if isinstance(model, str):
        return {"model": model}
    return ModelSettings() if model is None else model

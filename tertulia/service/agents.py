"""Agents of an organisation: create, read, update and delete."""

import builtins
import uuid
from collections.abc import Callable

from tertulia.core.agents import Agent, AgentFilter, AgentPatch, NewAgent, StoredAgent
from tertulia.core.blocks import Block, BlockPatch
from tertulia.core.errors import NotFound
from tertulia.core.ids import AgentId, BlockId
from tertulia.core.paging import Page
from tertulia.service.group_changes import delete_agent_everywhere
from tertulia.service.scope import OrganisationScope
from tertulia.store.agents import (
    change_agent,
    change_attachments,
    count_agents,
    create_agent,
    delete_agent,
    list_agents,
    read_agent,
)
from tertulia.store.blocks import change_block


class AgentService:
    """Use cases on agents. Methods that name an agent or a block raise `NotFound` where the organisation has none."""

    def __init__(self, scope: OrganisationScope) -> None:
        self._scope = scope
        self._database = scope.database
        self._organisation_id = scope.organisation_id

    async def create(self, new: NewAgent) -> StoredAgent:
        """Create an agent.

        Raises:
            Conflict: the name or the id is taken, or two blocks have one label.
            InvalidDefinition: a block's value is longer than its limit.
        """
        unique = uuid.uuid4()
        agent = Agent(
            id=AgentId(new.id or f"agent-{unique}"),
            name=new.name or f"Agent {unique.hex[:12]}",
            description=new.description,
            instructions=new.instructions,
            model=new.model,
        )
        return await create_agent(
            self._database,
            self._organisation_id,
            agent,
            tags=new.tags,
            metadata=new.metadata,
            new_blocks=new.blocks,
            block_ids=new.block_ids,
        )

    async def retrieve(self, agent_id: str) -> StoredAgent:
        """Return the agent with this id."""
        return await read_agent(self._database, self._organisation_id, agent_id)

    async def list(self, page: Page, filter: AgentFilter | None = None) -> builtins.list[StoredAgent]:
        """Return one page of the agents that match `filter`."""
        return await list_agents(self._database, self._organisation_id, page, filter)

    async def count(self) -> int:
        """Return the number of agents."""
        return await count_agents(self._database, self._organisation_id)

    async def update(self, agent_id: str, patch: AgentPatch, *, expected_revision: int | None = None) -> StoredAgent:
        """Update an agent. Its next turn in every conversation uses the new values.

        Raises:
            Conflict: the revision is not the expected one, the name is taken, or two blocks have one label.
        """
        return await change_agent(
            self._database, self._organisation_id, agent_id, patch, expected_revision=expected_revision
        )

    async def delete(self, agent_id: str, *, force: bool = False) -> None:
        """Delete an agent; with `force`, also remove it from all groups and running conversations.

        Raises:
            Conflict: groups have it as a member or manager (without `force`); the message names them.
        """
        if force:
            await delete_agent_everywhere(self._scope, AgentId(agent_id))
        else:
            await delete_agent(self._database, self._organisation_id, agent_id)

    async def attach_block(self, agent_id: str, block_id: str) -> StoredAgent:
        """Attach a block as the last one; an attached block keeps its place.

        Raises:
            Conflict: the agent has another block with this label.
        """
        return await self._update_attachments(
            agent_id, lambda ids: ids if block_id in ids else [*ids, BlockId(block_id)]
        )

    async def detach_block(self, agent_id: str, block_id: str) -> StoredAgent:
        """Detach a block; the block itself stays."""

        def remove(ids: builtins.list[BlockId]) -> builtins.list[BlockId]:
            if block_id not in ids:
                raise NotFound(f"the agent {agent_id!r} has no block {block_id!r}")
            return [one for one in ids if one != block_id]

        return await self._update_attachments(agent_id, remove)

    async def block(self, agent_id: str, label: str) -> Block:
        """Return the agent's block with this label."""
        blocks = (await self.retrieve(agent_id)).blocks
        found = next((block for block in blocks if block.label == label), None)
        if found is None:
            raise NotFound(f"the agent {agent_id!r} has no block labelled {label!r}")
        return found

    async def update_block(
        self, agent_id: str, label: str, patch: BlockPatch, *, expected_version: int | None = None
    ) -> Block:
        """Update the agent's block with this label, for everyone who shares it.

        Raises:
            Conflict: the block's version is not the expected one.
            InvalidDefinition: the value would be longer than the limit.
        """
        block = await self.block(agent_id, label)
        return await change_block(
            self._database, self._organisation_id, block.id, patch, expected_version=expected_version
        )

    async def _update_attachments(
        self, agent_id: str, change: Callable[[builtins.list[BlockId]], builtins.list[BlockId]]
    ) -> StoredAgent:
        return await change_attachments(self._database, self._organisation_id, agent_id, change)

"""Agents, managed: what programs and people can do with those of their organisation."""

import uuid
from collections.abc import Callable

from tertulia.client.client import Tertulia
from tertulia.core.agents import (
    Agent,
    AgentFilter,
    AgentPatch,
    NewAgent,
    StoredAgent,
)
from tertulia.core.blocks import Block, BlockPatch
from tertulia.core.errors import NotFound
from tertulia.core.ids import AgentId, BlockId, OrganisationId
from tertulia.core.paging import Page
from tertulia.service.group_changes import delete_agent_everywhere
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


class Agents:
    """An organisation's agents. What belongs to another organisation is not there.

    Every method that names an agent or a block raises `NotFound` where there is none.
    """

    def __init__(self, client: Tertulia, organisation_id: OrganisationId) -> None:
        self._client = client
        self._database = client.database
        self._organisation_id = organisation_id

    async def create(self, new: NewAgent) -> StoredAgent:
        """Make an agent.

        Raises:
            Conflict: the name or the id is taken, or two blocks bear one label.
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
            drafts=new.blocks,
            block_ids=new.block_ids,
        )

    async def retrieve(self, agent_id: str) -> StoredAgent:
        """The agent of that id."""
        return await read_agent(self._database, self._organisation_id, agent_id)

    async def listed(self, page: Page, only: AgentFilter | None = None) -> list[StoredAgent]:
        """A page of the agents."""
        return await list_agents(self._database, self._organisation_id, page, only)

    async def count(self) -> int:
        """How many there are."""
        return await count_agents(self._database, self._organisation_id)

    async def modify(self, agent_id: str, patch: AgentPatch, *, expected_revision: int | None = None) -> StoredAgent:
        """Change an agent; its next turn, in whatever conversation, is taken as it is then.

        Raises:
            Conflict: someone else was first, the name is taken, or two blocks bear one label.
        """
        return await change_agent(
            self._database, self._organisation_id, agent_id, patch, expected_revision=expected_revision
        )

    async def delete(self, agent_id: str, *, force: bool = False) -> None:
        """Delete an agent; with `force`, also one that groups need: it is taken out of them, and of what runs.

        Raises:
            Conflict: groups need it, which the message names.
        """
        if force:
            await delete_agent_everywhere(self._client, self._organisation_id, AgentId(agent_id))
        else:
            await delete_agent(self._database, self._organisation_id, agent_id)

    async def attach(self, agent_id: str, block_id: str) -> StoredAgent:
        """Let the agent have a block, as its last; one that it has stays where it is.

        Raises:
            Conflict: it has another block of that label.
        """
        return await self._rearrange(agent_id, lambda ids: ids if block_id in ids else [*ids, BlockId(block_id)])

    async def detach(self, agent_id: str, block_id: str) -> StoredAgent:
        """Take a block from the agent; the block itself stays."""

        def without(ids: list[BlockId]) -> list[BlockId]:
            if block_id not in ids:
                raise NotFound(f"the agent {agent_id!r} has no block {block_id!r}")
            return [one for one in ids if one != block_id]

        return await self._rearrange(agent_id, without)

    async def block(self, agent_id: str, label: str) -> Block:
        """The agent's block of that label."""
        blocks = (await self.retrieve(agent_id)).blocks
        found = next((block for block in blocks if block.label == label), None)
        if found is None:
            raise NotFound(f"the agent {agent_id!r} has no block labelled {label!r}")
        return found

    async def modify_block(
        self, agent_id: str, label: str, patch: BlockPatch, *, expected_version: int | None = None
    ) -> Block:
        """Change the agent's block of that label, for all that have it.

        Raises:
            Conflict: someone else was first.
            InvalidDefinition: the value would be longer than the limit.
        """
        block = await self.block(agent_id, label)
        return await change_block(
            self._database, self._organisation_id, block.id, patch, expected_version=expected_version
        )

    async def _rearrange(self, agent_id: str, change: Callable[[list[BlockId]], list[BlockId]]) -> StoredAgent:
        return await change_attachments(self._database, self._organisation_id, agent_id, change)

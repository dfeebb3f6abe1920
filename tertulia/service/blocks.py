"""Memory blocks of an organisation: create, read, update and delete."""

import builtins

from tertulia.core.agents import StoredAgent
from tertulia.core.blocks import Block, BlockFilter, BlockPatch, NewBlock
from tertulia.core.paging import Page
from tertulia.service.scope import OrganisationScope
from tertulia.store.agents import agents_with_block
from tertulia.store.blocks import change_block, count_blocks, create_block, delete_block, find_block, list_blocks


class BlockService:
    """Use cases on memory blocks. Methods that name a block raise `NotFound` where the organisation has none."""

    def __init__(self, scope: OrganisationScope) -> None:
        self._database = scope.database
        self._organisation_id = scope.organisation_id

    async def create(self, new: NewBlock) -> Block:
        """Create a block.

        Raises:
            InvalidDefinition: the value is longer than the limit.
        """
        return await create_block(self._database, self._organisation_id, new)

    async def retrieve(self, block_id: str) -> Block:
        """Return the block with this id."""
        return await find_block(self._database, self._organisation_id, block_id)

    async def list(self, page: Page, filter: BlockFilter | None = None) -> builtins.list[Block]:
        """Return one page of the blocks that match `filter`."""
        return await list_blocks(self._database, self._organisation_id, page, filter)

    async def count(self) -> int:
        """Return the number of blocks."""
        return await count_blocks(self._database, self._organisation_id)

    async def update(self, block_id: str, patch: BlockPatch, *, expected_version: int | None = None) -> Block:
        """Update a block. Concurrent updates are applied one after the other, each to the result of the one before.

        Raises:
            Conflict: the version is not the expected one.
            InvalidDefinition: the value would be longer than the limit.
        """
        return await change_block(
            self._database, self._organisation_id, block_id, patch, expected_version=expected_version
        )

    async def delete(self, block_id: str) -> None:
        """Delete a block and detach it from every agent and group."""
        await delete_block(self._database, self._organisation_id, block_id)

    async def agents(self, block_id: str, page: Page) -> builtins.list[StoredAgent]:
        """Return one page of the agents to which the block is attached."""
        await self.retrieve(block_id)
        return await agents_with_block(self._database, self._organisation_id, block_id, page)

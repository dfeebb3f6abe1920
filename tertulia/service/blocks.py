"""Memory blocks, managed: what programs and people can do with those of their organisation."""

from tertulia.client.client import Tertulia
from tertulia.core.agents import StoredAgent
from tertulia.core.blocks import Block, BlockFilter, BlockPatch, NewBlock
from tertulia.core.ids import OrganisationId
from tertulia.core.paging import Page
from tertulia.store.agents import agents_with_block
from tertulia.store.blocks import change_block, count_blocks, create_block, delete_block, find_block, list_blocks


class Blocks:
    """An organisation's blocks. What belongs to another organisation is not there.

    Every method that names a block raises `NotFound` where there is none.
    """

    def __init__(self, client: Tertulia, organisation_id: OrganisationId) -> None:
        self._database = client.database
        self._organisation_id = organisation_id

    async def create(self, draft: NewBlock) -> Block:
        """Make a block.

        Raises:
            InvalidDefinition: the value is longer than the limit.
        """
        return await create_block(self._database, self._organisation_id, draft)

    async def retrieve(self, block_id: str) -> Block:
        """The block of that id."""
        return await find_block(self._database, self._organisation_id, block_id)

    async def listed(self, page: Page, only: BlockFilter | None = None) -> list[Block]:
        """A page of the blocks."""
        return await list_blocks(self._database, self._organisation_id, page, only)

    async def count(self) -> int:
        """How many there are."""
        return await count_blocks(self._database, self._organisation_id)

    async def modify(self, block_id: str, patch: BlockPatch, *, expected_version: int | None = None) -> Block:
        """Change a block; it is in the next turn's prompt of all that have it.

        Writers at the same time wait for each other: each change is made to what the one before has left.

        Raises:
            Conflict: its version is not the expected one.
            InvalidDefinition: the value would be longer than the limit.
        """
        return await change_block(
            self._database, self._organisation_id, block_id, patch, expected_version=expected_version
        )

    async def delete(self, block_id: str) -> None:
        """Take a block away from all that have it."""
        await delete_block(self._database, self._organisation_id, block_id)

    async def agents(self, block_id: str, page: Page) -> list[StoredAgent]:
        """A page of the agents that have it."""
        await self.retrieve(block_id)
        return await agents_with_block(self._database, self._organisation_id, block_id, page)

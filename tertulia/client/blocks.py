"""`Tertulia.blocks`."""

import builtins
from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import JsonValue

from tertulia.client.backend import BlockBackend
from tertulia.client.paging import read_list
from tertulia.core.base import validated
from tertulia.core.blocks import DEFAULT_BLOCK_LIMIT, Block, BlockFilter, BlockPatch, NewBlock
from tertulia.core.paging import Order


class Blocks:
    """The memory blocks of the organisation."""

    def __init__(self, backend: BlockBackend) -> None:
        self._backend = backend

    async def create(
        self,
        *,
        label: str,
        value: str = "",
        description: str = "",
        limit: int = DEFAULT_BLOCK_LIMIT,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> Block:
        """Create a block.

        Args:
            label: its heading in prompts.
            value: the text.
            description: for people; at most 2,000 characters.
            limit: the longest value, in characters.
            metadata: JSON that Tertulia stores and does not read.

        Raises:
            InvalidDefinition: a value is invalid, or the text is longer than `limit`.
        """
        new = validated(
            NewBlock, label=label, value=value, description=description, limit=limit, metadata=dict(metadata or {})
        )
        return await self._backend.create(new)

    async def retrieve(self, block_id: str) -> Block:
        """Return the block with this id.

        Raises:
            NotFound: no such block.
        """
        return await self._backend.retrieve(block_id)

    async def list(
        self,
        *,
        label: str | None = None,
        label_search: str | None = None,
        value_search: str | None = None,
        description_search: str | None = None,
        limit: int | None = None,
        order: Order = "asc",
    ) -> builtins.list[Block]:
        """Return the blocks that match every given filter, all of them unless there is a `limit`.

        Args:
            label: the exact label.
            label_search: a part of the label, in any case.
            value_search: a part of the value, in any case.
            description_search: a part of the description, in any case.
            limit: how many at most.
            order: `asc` = the oldest first.

        Raises:
            InvalidDefinition: a filter is invalid; the message names it.
        """
        filter = validated(
            BlockFilter,
            label=label,
            label_search=label_search,
            value_search=value_search,
            description_search=description_search,
        )
        read = partial(self._backend.list, filter=filter)
        return await read_list(read, lambda block: block.id, limit=limit, order=order)

    async def count(self) -> int:
        """Return the number of blocks."""
        return await self._backend.count()

    async def update(self, block_id: str, *, expected_version: int | None = None, **fields: Any) -> Block:
        """Update a block. The next turn of everyone who has it uses the new text.

        Args:
            block_id: the block.
            expected_version: refuse the update if the block has another version.
            fields: of `BlockPatch`: label, value, append, description, limit, metadata. `append` adds text to the end
                of the value, whatever the value is by then.

        Raises:
            NotFound: no such block.
            InvalidDefinition: a value is invalid, or the text would be longer than the limit.
            Conflict: the version is not the expected one.
        """
        patch = validated(BlockPatch, **fields)
        return await self._backend.update(block_id, patch, expected_version=expected_version)

    async def delete(self, block_id: str) -> None:
        """Delete a block and detach it from every agent and group.

        Raises:
            NotFound: no such block.
        """
        await self._backend.delete(block_id)

"""`/v1/blocks`: memory blocks."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from tertulia.api.agents import DefaultModel
from tertulia.api.dependencies import BlocksToChange, BlocksToRead
from tertulia.api.schemas.agents import AgentState, agent_shape
from tertulia.api.schemas.blocks import BlockQuery, BlockShape, CreateBlock, UpdateBlock, block_shape
from tertulia.api.schemas.requests import ExpectedRevision, PageQuery
from tertulia.api.schemas.responses import DeletedResponse, etag

router = APIRouter(prefix="/blocks", tags=["blocks"])


@router.get("/", summary="List blocks")
async def blocks(service: BlocksToRead, query: Annotated[BlockQuery, Query()]) -> list[BlockShape]:
    """List the memory blocks of the organisation, page by page."""
    return [block_shape(block) for block in await service.list(query.page, query.filter)]


@router.post("/", summary="Create a block")
async def create(service: BlocksToChange, body: CreateBlock, response: Response) -> BlockShape:
    """Create a memory block."""
    block = await service.create(body.draft)
    response.headers.update(etag(block.version))
    return block_shape(block)


@router.get("/count", summary="Count blocks")
async def count(service: BlocksToRead) -> int:
    """Return the number of memory blocks."""
    return await service.count()


@router.get("/{block_id}", summary="Retrieve a block")
async def retrieve(service: BlocksToRead, block_id: str, response: Response) -> BlockShape:
    """Return a memory block."""
    block = await service.retrieve(block_id)
    response.headers.update(etag(block.version))
    return block_shape(block)


@router.patch("/{block_id}", summary="Change a block")
async def update(
    service: BlocksToChange, block_id: str, body: UpdateBlock, expected: ExpectedRevision, response: Response
) -> BlockShape:
    """Change a memory block. The change is in the next prompt of every agent and group that has the block.

    Concurrent changes are applied one after the other. With `If-Match`, a change applies only to that version.
    """
    block = await service.update(block_id, body, expected_version=expected)
    response.headers.update(etag(block.version))
    return block_shape(block)


@router.delete("/{block_id}", summary="Delete a block")
async def delete(service: BlocksToChange, block_id: str) -> DeletedResponse:
    """Delete a memory block and detach it from every agent and group."""
    await service.delete(block_id)
    return DeletedResponse(message=f"block {block_id!r} deleted")


@router.get("/{block_id}/agents", summary="List the agents with a block")
async def agents(
    service: BlocksToRead, block_id: str, query: Annotated[PageQuery, Query()], default_model: DefaultModel
) -> list[AgentState]:
    """List the agents that have the block, page by page."""
    return [agent_shape(agent, default_model) for agent in await service.agents(block_id, query.page)]

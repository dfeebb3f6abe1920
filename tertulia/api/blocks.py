"""`/v1/blocks`: memory blocks."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from tertulia.api.agents import DefaultModel
from tertulia.api.dependencies import BlocksToChange, BlocksToRead
from tertulia.api.schemas.agents import AgentState, agent_shape
from tertulia.api.schemas.blocks import BlockQuery, BlockShape, CreateBlock, UpdateBlock, block_shape
from tertulia.api.schemas.requests import DeletedResponse, ExpectedRevision, PageQuery, etag

router = APIRouter(prefix="/blocks", tags=["blocks"])


@router.get("/")
async def blocks(service: BlocksToRead, query: Annotated[BlockQuery, Query()]) -> list[BlockShape]:
    """A page of the blocks."""
    return [block_shape(block) for block in await service.list(query.page, query.filter)]


@router.post("/")
async def create(service: BlocksToChange, body: CreateBlock, response: Response) -> BlockShape:
    """Make a block."""
    block = await service.create(body.draft)
    response.headers.update(etag(block.version))
    return block_shape(block)


@router.get("/count")
async def count(service: BlocksToRead) -> int:
    """Count the organisation's memory blocks."""
    return await service.count()


@router.get("/{block_id}")
async def retrieve(service: BlocksToRead, block_id: str, response: Response) -> BlockShape:
    """A block."""
    block = await service.retrieve(block_id)
    response.headers.update(etag(block.version))
    return block_shape(block)


@router.patch("/{block_id}")
async def update(
    service: BlocksToChange, block_id: str, body: UpdateBlock, expected: ExpectedRevision, response: Response
) -> BlockShape:
    """Change a block; it is in the next turn's prompt of all that have it.

    Changes at the same time wait for each other, and none is lost; `If-Match` with the version refuses to change what
    someone else has changed meanwhile.
    """
    block = await service.update(block_id, body, expected_version=expected)
    response.headers.update(etag(block.version))
    return block_shape(block)


@router.delete("/{block_id}")
async def delete(service: BlocksToChange, block_id: str) -> DeletedResponse:
    """Take a block away from all that have it."""
    await service.delete(block_id)
    return DeletedResponse(message=f"block {block_id!r} deleted")


@router.get("/{block_id}/agents")
async def agents(
    service: BlocksToRead, block_id: str, query: Annotated[PageQuery, Query()], default_model: DefaultModel
) -> list[AgentState]:
    """A page of the agents that have the block."""
    return [agent_shape(agent, default_model) for agent in await service.agents(block_id, query.page)]

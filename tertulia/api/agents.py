"""`/v1/agents`: agents, their blocks, their groups."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from tertulia.api.dependencies import AgentsToChange, AgentsToRead, GroupsToRead
from tertulia.api.schemas.agents import AgentQuery, AgentState, CreateAgent, Memory, UpdateAgent, agent_shape
from tertulia.api.schemas.blocks import BlockShape, UpdateBlock, block_shape
from tertulia.api.schemas.groups import GroupShape, GroupsOfAgentQuery, group_shape
from tertulia.api.schemas.requests import DeletedResponse, ExpectedRevision, etag
from tertulia.configuration import Configuration
from tertulia.core.errors import ConfigurationError
from tertulia.core.group import GroupFilter
from tertulia.core.ids import AgentId

router = APIRouter(prefix="/agents", tags=["agents"])

_UNKNOWN_MODEL = "default"


def default_model(configuration: Configuration) -> str:
    """The model of agents that name none, as far as this process knows: the workers decide."""
    try:
        return configuration.default_model
    except ConfigurationError:
        return _UNKNOWN_MODEL


def _default_model(request: Request) -> str:
    return str(getattr(request.app.state, "default_model", _UNKNOWN_MODEL))


DefaultModel = Annotated[str, Depends(_default_model)]


@router.get("/")
async def agents(
    service: AgentsToRead, query: Annotated[AgentQuery, Query()], default_model: DefaultModel
) -> list[AgentState]:
    """A page of the agents."""
    return [agent_shape(agent, default_model) for agent in await service.list(query.page, query.filter)]


@router.post("/")
async def create(
    service: AgentsToChange, body: CreateAgent, default_model: DefaultModel, response: Response
) -> AgentState:
    """Make an agent."""
    agent = await service.create(body.definition)
    response.headers.update(etag(agent.revision))
    return agent_shape(agent, default_model)


@router.get("/count")
async def count(service: AgentsToRead) -> int:
    """Count the organisation's agents."""
    return await service.count()


@router.get("/{agent_id}")
async def retrieve(service: AgentsToRead, agent_id: str, default_model: DefaultModel, response: Response) -> AgentState:
    """An agent."""
    agent = await service.retrieve(agent_id)
    response.headers.update(etag(agent.revision))
    return agent_shape(agent, default_model)


@router.patch("/{agent_id}")
async def update(
    service: AgentsToChange,
    agent_id: str,
    body: UpdateAgent,
    expected: ExpectedRevision,
    default_model: DefaultModel,
    response: Response,
) -> AgentState:
    """Change an agent; its next turn is taken as it is then."""
    agent = await service.update(agent_id, body.patch, expected_revision=expected)
    response.headers.update(etag(agent.revision))
    return agent_shape(agent, default_model)


@router.delete("/{agent_id}")
async def delete(
    service: AgentsToChange,
    agent_id: str,
    force: Annotated[bool, Query(description="Take it out of its groups, and of what runs, first.")] = False,
) -> DeletedResponse:
    """Delete an agent. One that groups need is deleted by `force` alone; what it said stays."""
    await service.delete(agent_id, force=force)
    return DeletedResponse(message=f"agent {agent_id!r} deleted")


@router.get("/{agent_id}/groups")
async def groups(
    service: GroupsToRead, agent_id: str, query: Annotated[GroupsOfAgentQuery, Query()]
) -> list[GroupShape]:
    """A page of the groups that the agent is in, or that it manages."""
    filter = GroupFilter(agent_id=AgentId(agent_id), manager_type=query.manager_type)
    return [group_shape(group) for group in await service.list(query.page, filter)]


@router.get("/{agent_id}/core-memory")
async def memory(service: AgentsToRead, agent_id: str) -> Memory:
    """The agent's own blocks, in order, as its memory."""
    return Memory(blocks=await blocks(service, agent_id))


@router.get("/{agent_id}/core-memory/blocks")
async def blocks(service: AgentsToRead, agent_id: str) -> list[BlockShape]:
    """The agent's own blocks, in order."""
    return [block_shape(block) for block in (await service.retrieve(agent_id)).blocks]


@router.get("/{agent_id}/core-memory/blocks/{block_label}")
async def block(service: AgentsToRead, agent_id: str, block_label: str, response: Response) -> BlockShape:
    """The agent's block of that label."""
    found = await service.block(agent_id, block_label)
    response.headers.update(etag(found.version))
    return block_shape(found)


@router.patch("/{agent_id}/core-memory/blocks/{block_label}")
async def update_block(
    service: AgentsToChange,
    agent_id: str,
    block_label: str,
    body: UpdateBlock,
    expected: ExpectedRevision,
    response: Response,
) -> BlockShape:
    """Change the agent's block of that label, for all that have it."""
    changed = await service.update_block(agent_id, block_label, body, expected_version=expected)
    response.headers.update(etag(changed.version))
    return block_shape(changed)


@router.patch("/{agent_id}/core-memory/blocks/attach/{block_id}")
async def attach(service: AgentsToChange, agent_id: str, block_id: str, default_model: DefaultModel) -> AgentState:
    """Let the agent have a block, as its last."""
    return agent_shape(await service.attach_block(agent_id, block_id), default_model)


@router.patch("/{agent_id}/core-memory/blocks/detach/{block_id}")
async def detach(service: AgentsToChange, agent_id: str, block_id: str, default_model: DefaultModel) -> AgentState:
    """Take a block from the agent; the block itself stays."""
    return agent_shape(await service.detach_block(agent_id, block_id), default_model)

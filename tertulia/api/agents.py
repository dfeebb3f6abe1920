"""`/v1/agents`: agents, their memory blocks and their groups."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from tertulia.api.dependencies import AgentsToChange, AgentsToRead, GroupsToRead
from tertulia.api.schemas.agents import AgentQuery, AgentState, CreateAgent, Memory, UpdateAgent, agent_shape
from tertulia.api.schemas.blocks import BlockShape, UpdateBlock, block_shape
from tertulia.api.schemas.groups import GroupShape, GroupsOfAgentQuery, group_shape
from tertulia.api.schemas.requests import ExpectedRevision
from tertulia.api.schemas.responses import DeletedResponse, etag
from tertulia.configuration import Configuration
from tertulia.core.errors import ConfigurationError
from tertulia.core.group import GroupFilter
from tertulia.core.ids import AgentId

router = APIRouter(prefix="/agents", tags=["agents"])

_UNKNOWN_MODEL = "default"
"""Name shown when this process has no default model: the workers' setting decides, and may differ."""


def default_model(configuration: Configuration) -> str:
    """Return the model to show for agents without one: the default model in this process's configuration."""
    try:
        return configuration.default_model
    except ConfigurationError:
        return _UNKNOWN_MODEL


def _default_model(request: Request) -> str:
    return str(getattr(request.app.state, "default_model", _UNKNOWN_MODEL))


DefaultModel = Annotated[str, Depends(_default_model)]


@router.get("/", summary="List agents")
async def agents(
    service: AgentsToRead, query: Annotated[AgentQuery, Query()], default_model: DefaultModel
) -> list[AgentState]:
    """List the agents of the organisation, page by page."""
    return [agent_shape(agent, default_model) for agent in await service.list(query.page, query.filter)]


@router.post("/", summary="Create an agent")
async def create(
    service: AgentsToChange, body: CreateAgent, default_model: DefaultModel, response: Response
) -> AgentState:
    """Create an agent, with new memory blocks or existing ones."""
    agent = await service.create(body.definition)
    response.headers.update(etag(agent.revision))
    return agent_shape(agent, default_model)


@router.get("/count", summary="Count agents")
async def count(service: AgentsToRead) -> int:
    """Return the number of agents."""
    return await service.count()


@router.get("/{agent_id}", summary="Retrieve an agent")
async def retrieve(service: AgentsToRead, agent_id: str, default_model: DefaultModel, response: Response) -> AgentState:
    """Return an agent."""
    agent = await service.retrieve(agent_id)
    response.headers.update(etag(agent.revision))
    return agent_shape(agent, default_model)


@router.patch("/{agent_id}", summary="Change an agent")
async def update(
    service: AgentsToChange,
    agent_id: str,
    body: UpdateAgent,
    expected: ExpectedRevision,
    default_model: DefaultModel,
    response: Response,
) -> AgentState:
    """Change an agent. The change applies from its next turn."""
    agent = await service.update(agent_id, body.patch, expected_revision=expected)
    response.headers.update(etag(agent.revision))
    return agent_shape(agent, default_model)


@router.delete("/{agent_id}", summary="Delete an agent")
async def delete(
    service: AgentsToChange,
    agent_id: str,
    force: Annotated[bool, Query(description="Remove the agent from its groups and open conversations first.")] = False,
) -> DeletedResponse:
    """Delete an agent. An agent that groups use is deleted only with `force`. Its messages stay in the transcripts."""
    await service.delete(agent_id, force=force)
    return DeletedResponse(message=f"agent {agent_id!r} deleted")


@router.get("/{agent_id}/groups", summary="List the groups of an agent")
async def groups(
    service: GroupsToRead, agent_id: str, query: Annotated[GroupsOfAgentQuery, Query()]
) -> list[GroupShape]:
    """List the groups in which the agent is a member or a manager, page by page."""
    filter = GroupFilter(agent_id=AgentId(agent_id), manager_type=query.manager_type)
    return [group_shape(group) for group in await service.list(query.page, filter)]


@router.get("/{agent_id}/core-memory", summary="Retrieve the memory of an agent")
async def memory(service: AgentsToRead, agent_id: str) -> Memory:
    """Return the memory blocks of the agent, in order."""
    return Memory(blocks=await blocks(service, agent_id))


@router.get("/{agent_id}/core-memory/blocks", summary="List the blocks of an agent")
async def blocks(service: AgentsToRead, agent_id: str) -> list[BlockShape]:
    """List the memory blocks of the agent, in order."""
    return [block_shape(block) for block in (await service.retrieve(agent_id)).blocks]


@router.get("/{agent_id}/core-memory/blocks/{block_label}", summary="Retrieve a block of an agent")
async def block(service: AgentsToRead, agent_id: str, block_label: str, response: Response) -> BlockShape:
    """Return the agent's block with this label."""
    found = await service.block(agent_id, block_label)
    response.headers.update(etag(found.version))
    return block_shape(found)


@router.patch("/{agent_id}/core-memory/blocks/{block_label}", summary="Change a block of an agent")
async def update_block(
    service: AgentsToChange,
    agent_id: str,
    block_label: str,
    body: UpdateBlock,
    expected: ExpectedRevision,
    response: Response,
) -> BlockShape:
    """Change the agent's block with this label. The change applies to every agent and group that has the block."""
    changed = await service.update_block(agent_id, block_label, body, expected_version=expected)
    response.headers.update(etag(changed.version))
    return block_shape(changed)


@router.patch("/{agent_id}/core-memory/blocks/attach/{block_id}", summary="Attach a block to an agent")
async def attach(service: AgentsToChange, agent_id: str, block_id: str, default_model: DefaultModel) -> AgentState:
    """Attach a block to the agent, as the last one."""
    return agent_shape(await service.attach_block(agent_id, block_id), default_model)


@router.patch("/{agent_id}/core-memory/blocks/detach/{block_id}", summary="Detach a block from an agent")
async def detach(service: AgentsToChange, agent_id: str, block_id: str, default_model: DefaultModel) -> AgentState:
    """Detach a block from the agent. The block is not deleted."""
    return agent_shape(await service.detach_block(agent_id, block_id), default_model)

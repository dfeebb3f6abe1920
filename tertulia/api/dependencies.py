"""What the routes work with: the services, for whom the request comes from."""

from typing import Annotated

from fastapi import Depends, Request

from tertulia.api.security import Operator, Reader
from tertulia.client.client import Tertulia
from tertulia.service.agents import Agents
from tertulia.service.blocks import Blocks
from tertulia.service.groups import Groups
from tertulia.store.notifications import Listener


def client_of(request: Request) -> Tertulia:
    """The connected client."""
    tertulia: Tertulia = request.app.state.tertulia
    return tertulia


def listener_of(request: Request) -> Listener:
    """What wakes those who wait for a conversation."""
    listener: Listener = request.app.state.listener
    return listener


Client = Annotated[Tertulia, Depends(client_of)]
Listening = Annotated[Listener, Depends(listener_of)]


def _agents_to_read(client: Client, principal: Reader) -> Agents:
    return Agents(client, principal.organisation_id)


def _agents(client: Client, principal: Operator) -> Agents:
    return Agents(client, principal.organisation_id)


def _blocks_to_read(client: Client, principal: Reader) -> Blocks:
    return Blocks(client, principal.organisation_id)


def _blocks(client: Client, principal: Operator) -> Blocks:
    return Blocks(client, principal.organisation_id)


def _groups_to_read(client: Client, principal: Reader) -> Groups:
    return Groups(client, principal.organisation_id)


def _groups(client: Client, principal: Operator) -> Groups:
    return Groups(client, principal.organisation_id)


AgentsToRead = Annotated[Agents, Depends(_agents_to_read)]
AgentsToChange = Annotated[Agents, Depends(_agents)]
BlocksToRead = Annotated[Blocks, Depends(_blocks_to_read)]
BlocksToChange = Annotated[Blocks, Depends(_blocks)]
GroupsToRead = Annotated[Groups, Depends(_groups_to_read)]
GroupsToChange = Annotated[Groups, Depends(_groups)]

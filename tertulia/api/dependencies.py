"""Dependencies of the routes. Invariant: every service is limited to the organisation of the request's key."""

from typing import Annotated

from fastapi import Depends, Request

from tertulia.api.security import Administrator, Operator, Poster, Reader
from tertulia.service.agents import AgentService
from tertulia.service.blocks import BlockService
from tertulia.service.connection import Connection
from tertulia.service.conversations import ConversationService
from tertulia.service.groups import GroupService
from tertulia.service.keys import KeyService
from tertulia.service.principal import Principal
from tertulia.service.scope import OrganisationScope
from tertulia.store.notifications import Listener


def get_connection(request: Request) -> Connection:
    connection: Connection = request.app.state.connection
    return connection


def get_listener(request: Request) -> Listener:
    listener: Listener = request.app.state.listener
    return listener


SharedConnection = Annotated[Connection, Depends(get_connection)]
SharedListener = Annotated[Listener, Depends(get_listener)]


def organisation_scope(connection: Connection, principal: Principal) -> OrganisationScope:
    """Return the scope of a principal's organisation."""
    return OrganisationScope(connection, principal.organisation_id)


def _scope_to_read(connection: SharedConnection, principal: Reader) -> OrganisationScope:
    return organisation_scope(connection, principal)


def _scope_to_post(connection: SharedConnection, principal: Poster) -> OrganisationScope:
    return organisation_scope(connection, principal)


def _scope_to_operate(connection: SharedConnection, principal: Operator) -> OrganisationScope:
    return organisation_scope(connection, principal)


ReadScope = Annotated[OrganisationScope, Depends(_scope_to_read)]
PostScope = Annotated[OrganisationScope, Depends(_scope_to_post)]
OperateScope = Annotated[OrganisationScope, Depends(_scope_to_operate)]


def _agents_to_read(scope: ReadScope) -> AgentService:
    return AgentService(scope)


def _agents_to_change(scope: OperateScope) -> AgentService:
    return AgentService(scope)


def _blocks_to_read(scope: ReadScope) -> BlockService:
    return BlockService(scope)


def _blocks_to_change(scope: OperateScope) -> BlockService:
    return BlockService(scope)


def _groups_to_read(scope: ReadScope) -> GroupService:
    return GroupService(scope)


def _groups_to_change(scope: OperateScope) -> GroupService:
    return GroupService(scope)


def _conversations_to_read(scope: ReadScope) -> ConversationService:
    return ConversationService(scope)


def _conversations_to_start(scope: PostScope) -> ConversationService:
    return ConversationService(scope)


def _conversations_to_change(scope: OperateScope) -> ConversationService:
    return ConversationService(scope)


def _keys(connection: SharedConnection, principal: Administrator) -> KeyService:
    return KeyService(organisation_scope(connection, principal), granted_by=principal)


AgentsToRead = Annotated[AgentService, Depends(_agents_to_read)]
AgentsToChange = Annotated[AgentService, Depends(_agents_to_change)]
BlocksToRead = Annotated[BlockService, Depends(_blocks_to_read)]
BlocksToChange = Annotated[BlockService, Depends(_blocks_to_change)]
GroupsToRead = Annotated[GroupService, Depends(_groups_to_read)]
GroupsToChange = Annotated[GroupService, Depends(_groups_to_change)]
ConversationsToRead = Annotated[ConversationService, Depends(_conversations_to_read)]
ConversationsToStart = Annotated[ConversationService, Depends(_conversations_to_start)]
ConversationsToChange = Annotated[ConversationService, Depends(_conversations_to_change)]
Keys = Annotated[KeyService, Depends(_keys)]

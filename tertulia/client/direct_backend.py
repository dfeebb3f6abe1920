"""The backend over Temporal and Postgres: the services, scoped to one organisation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client

from tertulia.client.definition_store import DatabaseDefinitions
from tertulia.configuration import Configuration
from tertulia.core.ids import DEFAULT_ORGANISATION, DEFAULT_ORGANISATION_ALIAS, OrganisationId
from tertulia.service.agents import AgentService
from tertulia.service.blocks import BlockService
from tertulia.service.connection import Connection
from tertulia.service.conversations import ConversationService
from tertulia.service.error_translation import translating
from tertulia.service.groups import GroupService
from tertulia.service.keys import KeyService
from tertulia.service.scope import OrganisationScope
from tertulia.store.database import Database
from tertulia.store.organisations import find_organisation


class DirectBackend:
    """One organisation's resources on the servers themselves."""

    def __init__(self, scope: OrganisationScope) -> None:
        self.scope = scope
        address = scope.database.address
        self.agents = translating(AgentService(scope), address)
        self.blocks = translating(BlockService(scope), address)
        self.groups = translating(GroupService(scope), address)
        self.conversations = translating(ConversationService(scope), address)
        self.keys = translating(KeyService(scope), address)
        self.definitions = translating(DatabaseDefinitions(scope), address)


@asynccontextmanager
async def open_scope(
    configuration: Configuration,
    organisation: str = DEFAULT_ORGANISATION_ALIAS,
    *,
    temporal_client: Client | None = None,
    is_lazy: bool = False,
) -> AsyncIterator[OrganisationScope]:
    """Connect to the configured servers, limited to one organisation. See `Tertulia.connect`."""
    async with Connection.open(configuration, temporal_client=temporal_client, is_lazy=is_lazy) as connection:
        yield OrganisationScope(connection, await resolve_organisation(connection.database, organisation))


async def resolve_organisation(database: Database, organisation: str) -> OrganisationId:
    """Return the id of an organisation; `default` names the one that exists without any set-up.

    Raises:
        NotFound: no such organisation.
    """
    if organisation in (DEFAULT_ORGANISATION_ALIAS, DEFAULT_ORGANISATION):
        return DEFAULT_ORGANISATION
    return (await find_organisation(database, organisation)).id

"""The operator's client: organisations, and a client for each. It is the only object that spans organisations."""

from typing import TYPE_CHECKING

from tertulia.client.direct_backend import DirectBackend, resolve_organisation
from tertulia.core.base import validated
from tertulia.core.organisations import NewOrganisation, Organisation
from tertulia.service.connection import Connection
from tertulia.service.error_translation import translating
from tertulia.service.scope import OrganisationScope
from tertulia.store.organisations import create_organisation, find_organisation, list_organisations

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia


class Operator:
    """All organisations of a running system. See `Tertulia.connect_operator`."""

    def __init__(self, connection: Connection, client_type: "type[Tertulia]") -> None:
        self._connection = connection
        self._client_type = client_type
        self.organisations = translating(Organisations(connection), connection.database.address)
        """Organisations: create, retrieve, list."""

    async def organisation(self, organisation_id: str) -> "Tertulia":
        """Return a client for one organisation.

        Raises:
            NotFound: no such organisation.
        """
        found = await resolve_organisation(self._connection.database, organisation_id)
        return self._client_type(DirectBackend(OrganisationScope(self._connection, found)))


class Organisations:
    """The organisations of the system."""

    def __init__(self, connection: Connection) -> None:
        self._database = connection.database

    async def create(self, organisation_id: str, *, name: str | None = None) -> Organisation:
        """Create an organisation.

        Args:
            organisation_id: 1 to 128 letters, digits, `.`, `_`, `-`; it never changes.
            name: for people; None = the id.

        Raises:
            InvalidDefinition: an invalid id, or it is taken.
        """
        new = validated(NewOrganisation, id=organisation_id, name=name or organisation_id)
        return await create_organisation(self._database, new)

    async def retrieve(self, organisation_id: str) -> Organisation:
        """Return one organisation.

        Raises:
            NotFound: no such organisation.
        """
        return await find_organisation(self._database, organisation_id)

    async def list(self) -> list[Organisation]:
        """Return all organisations, by id."""
        return await list_organisations(self._database)

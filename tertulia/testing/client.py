"""A client for tests that also exposes the connections below it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from tertulia.client.client import Tertulia
from tertulia.client.direct_backend import DirectBackend, open_scope
from tertulia.configuration import Configuration
from tertulia.core.ids import DEFAULT_ORGANISATION_ALIAS, OrganisationId
from tertulia.service.scope import OrganisationScope


class DirectClient(Tertulia):
    """`Tertulia` over the servers themselves, with its organisation scope: Temporal client, database, task queue."""

    def __init__(self, scope: OrganisationScope) -> None:
        super().__init__(DirectBackend(scope))
        self.scope = scope
        """The connections, for looks behind the public API."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, configuration: Configuration, organisation: str = DEFAULT_ORGANISATION_ALIAS, *, is_lazy: bool = False
    ) -> AsyncIterator[Self]:
        """Connect to the configured servers. See `Tertulia.connect`."""
        async with open_scope(configuration, organisation, is_lazy=is_lazy) as scope:
            yield cls(scope)

    def for_organisation(self, organisation_id: OrganisationId) -> "DirectClient":
        """Return a client of another organisation over the same connections."""
        return DirectClient(OrganisationScope(self.scope.connection, organisation_id))

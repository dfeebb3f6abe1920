"""The client: one API over two backends, the servers themselves (`connect`) or the REST API (`connect_http`)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

from tertulia.client.agents import Agents
from tertulia.client.backend import Backend
from tertulia.client.blocks import Blocks
from tertulia.client.conversations import Conversations
from tertulia.client.groups import Groups
from tertulia.client.keys import Keys
from tertulia.client.manifest import ApplyResult, Manifest, apply_manifest
from tertulia.configuration import Configuration
from tertulia.core.ids import DEFAULT_ORGANISATION_ALIAS

if TYPE_CHECKING:
    from temporalio.client import Client

    from tertulia.client.operator import Operator


class Tertulia:
    """A client for one organisation.

    Every method raises a subclass of `TertuliaError` with a message for people: `NotFound`, `InvalidDefinition`,
    `Conflict`, `CommandRefused`, `ConversationClosed`, `Unavailable`, …
    """

    def __init__(self, backend: Backend) -> None:
        self.agents = Agents(backend.agents)
        """Agents: create, retrieve, find, list, count, update, delete."""
        self.blocks = Blocks(backend.blocks)
        """Memory blocks: create, retrieve, list, count, update, delete."""
        self.groups = Groups(backend)
        """Groups: create, retrieve, find, list, count, update, delete, post, reset."""
        self.conversations = Conversations(backend.conversations)
        """Conversations: create, retrieve, find, list, count, update, delete."""
        self.keys = Keys(backend.keys)
        """API keys: create, retrieve, list, count, update, delete."""
        self._definitions = backend.definitions

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        configuration: Configuration | None = None,
        *,
        organisation: str = DEFAULT_ORGANISATION_ALIAS,
        temporal_client: "Client | None" = None,
        is_lazy: bool = False,
    ) -> AsyncIterator[Self]:
        """Connect to Temporal and Postgres.

        Args:
            configuration: names the servers; None = `Configuration.from_environment()`.
            organisation: the organisation's id; `default` is the one that exists without any set-up.
            temporal_client: a Temporal client of yours, connected with `TertuliaClientPlugin`; None = a new one.
            is_lazy: connect to Temporal with the first call that needs it.

        Raises:
            ConfigurationError: a server is not configured and no embedded stack runs.
            Unavailable: a server does not answer.
            NotFound: no such organisation.
        """
        # Imported here: a client of the REST API loads neither temporalio nor sqlalchemy.
        from tertulia.client.direct_backend import DirectBackend, open_scope

        configuration = configuration or Configuration.from_environment()
        async with open_scope(configuration, organisation, temporal_client=temporal_client, is_lazy=is_lazy) as scope:
            yield cls(DirectBackend(scope))

    @classmethod
    @asynccontextmanager
    async def connect_http(cls, url: str | None = None, key: str | None = None) -> AsyncIterator[Self]:
        """Connect to the REST API. Nothing is requested yet.

        Args:
            url: the API's address, such as `http://127.0.0.1:8230`; None = `TERTULIA_URL`.
            key: the API key, which decides the organisation; None = `TERTULIA_API_KEY`.

        Raises:
            ConfigurationError: the address or the key is malformed, or no address is given.
        """
        from tertulia.client.http_backend import HttpBackend
        from tertulia.client.http_connection import HttpConnection

        configuration = Configuration.from_environment()
        if key is None and configuration.api_key is not None:
            key = configuration.api_key.get_secret_value()
        async with HttpConnection.open(url or configuration.api_url or "", key) as connection:
            yield cls(HttpBackend(connection))

    @classmethod
    @asynccontextmanager
    async def connect_operator(cls, configuration: Configuration | None = None) -> "AsyncIterator[Operator]":
        """Connect to Temporal and Postgres for all organisations. For operators of the system only.

        Args:
            configuration: names the servers; None = `Configuration.from_environment()`.

        Raises:
            ConfigurationError: a server is not configured and no embedded stack runs.
            Unavailable: a server does not answer.
        """
        from tertulia.client.operator import Operator
        from tertulia.service.connection import Connection

        async with Connection.open(configuration or Configuration.from_environment(), is_lazy=True) as connection:
            yield Operator(connection, cls)

    async def apply(self, manifest: Manifest) -> list[ApplyResult]:
        """Create or update the agents and groups of a manifest; running conversations of a changed group follow.

        Args:
            manifest: as `read_manifest` returns it.

        Raises:
            InvalidDefinition: a group is invalid; the message names the group and the field.
            Conflict: a name or an id is taken. Earlier entries stay; the manifest can be applied again.
        """
        return await apply_manifest(self._definitions, manifest)

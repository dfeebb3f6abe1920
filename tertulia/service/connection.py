"""The connections to Temporal and Postgres that all services of a process share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Self

from sqlalchemy.exc import DBAPIError
from temporalio.client import Client
from temporalio.service import RPCError

from tertulia.configuration import Configuration
from tertulia.core.errors import Unavailable
from tertulia.service.error_translation import translate_error
from tertulia.store.database import Database
from tertulia.temporal.encryption import is_encrypting
from tertulia.temporal.plugin import TertuliaClientPlugin, check_data_converter

_CONNECT_TIMEOUT_SECONDS = 10.0
_SETTLE_SECONDS = 0.02


class Connection:
    """One Temporal client and one pool of database connections.

    Args:
        temporal: a client with this project's data converter; it may be lazy.
        database: the pool.
        task_queue: the queue of the workflows and of the database activities.
    """

    def __init__(self, temporal: Client, database: Database, task_queue: str) -> None:
        self.temporal = temporal
        self.database = database
        self.task_queue = task_queue
        self._is_reached = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        configuration: Configuration,
        *,
        temporal_client: Client | None = None,
        is_lazy: bool = False,
        pool_size: int = 2,
    ) -> AsyncIterator[Self]:
        """Connect to the configured servers.

        Args:
            configuration: names the servers.
            temporal_client: an existing client to use instead of a new one; it needs our data converter.
            is_lazy: connect to Temporal with the first call that needs it; reads of the database never do.
            pool_size: database connections kept open; when all are busy, more are opened.

        Raises:
            ConfigurationError: a server is not configured and no embedded stack runs.
            Unavailable: a server does not answer.
        """
        if temporal_client is not None:
            check_data_converter(temporal_client, configuration.encryption_keys)
        temporal = temporal_client or await _connect_temporal(configuration, is_lazy=is_lazy)
        database = Database(configuration.database_url, pool_size=pool_size, timeout_seconds=_CONNECT_TIMEOUT_SECONDS)
        async with database:
            try:
                yield cls(temporal, database, configuration.task_queue)
            except (DBAPIError, TimeoutError) as error:
                raise translate_error(error, database.address) or error from None
            finally:
                if temporal_client is None:
                    # A process that exits right after an answer of Temporal is aborted by the interpreter, because a
                    # thread of the SDK still hands the answer over (temporalio/sdk-python issue 300).
                    await asyncio.sleep(_SETTLE_SECONDS)

    @property
    def is_encrypting(self) -> bool:
        """True if payloads are encrypted, so that only ids may enter search attributes."""
        return is_encrypting(self.temporal.data_converter)

    async def reach_temporal(self) -> None:
        """Connect a lazy client to Temporal. Once it has succeeded, further calls return at once.

        Raises:
            Unavailable: no server answers.
        """
        if self._is_reached.is_set():
            return
        service = self.temporal.service_client
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS):
                await service.check_health(timeout=timedelta(seconds=_CONNECT_TIMEOUT_SECONDS))
        except (RPCError, RuntimeError, TimeoutError):
            raise Unavailable(_temporal_unavailable_message(service.config.target_host)) from None
        self._is_reached.set()


async def _connect_temporal(configuration: Configuration, *, is_lazy: bool) -> Client:
    connect_config = configuration.temporal_connect_config()
    plugin = TertuliaClientPlugin(configuration.encryption_keys)
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS):
            return await Client.connect(**connect_config, plugins=[plugin], lazy=is_lazy)
    except (RuntimeError, TimeoutError):
        raise Unavailable(_temporal_unavailable_message(connect_config["target_host"])) from None


def _temporal_unavailable_message(address: str) -> str:
    return f"no Temporal server answers at {address}; is it running?"

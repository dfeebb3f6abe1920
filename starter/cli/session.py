"""Running one command: connect, do the work, and turn what goes wrong into one line and an exit code."""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia
    from tertulia.client.operator import Operator
    from tertulia.configuration import Configuration

T = TypeVar("T")

_LIBRARIES = ("psycopg", "sqlalchemy", "temporalio")


def configured(data: Path | None) -> "Configuration":
    """The configuration, with `--data` before the environment.

    Raises:
        ConfigurationError: a setting is malformed.
    """
    from tertulia.configuration import Configuration

    if data is not None:
        os.environ["TERTULIA_DATA"] = str(data)
    return Configuration.from_environment()


def with_client(data: Path | None, work: Callable[["Tertulia"], Awaitable[T]]) -> T:
    """Do `work` with a client of the API that `TERTULIA_URL` names or, without it, with one of the servers themselves.

    Raises:
        ConfigurationError: two different systems are named, or none.
    """
    from tertulia.configuration import ConfigurationError

    configuration = configured(data)
    if configuration.api_url is None:
        return _directly(configuration, work)
    if data is not None:
        raise ConfigurationError("--data names a stack of this machine, and TERTULIA_URL an API: leave one of them out")
    return _remotely(configuration, work)


def with_operator(data: Path | None, work: Callable[["Operator"], Awaitable[T]]) -> T:
    """Do `work` with the operator's client, which the API does not offer.

    Raises:
        ConfigurationError: an API is configured.
    """
    from tertulia.configuration import ConfigurationError

    configuration = configured(data)
    if configuration.api_url is not None and data is None:
        raise ConfigurationError("organisations are not managed through TERTULIA_URL: do this where the database is")
    from tertulia.client.client import Tertulia

    quieten_libraries()

    async def connected() -> T:
        async with Tertulia.connect_operator(configuration) as operator:
            return await work(operator)

    return asyncio.run(connected())


def _directly(configuration: "Configuration", work: Callable[["Tertulia"], Awaitable[T]]) -> T:
    # Imported here: `--help` and wrong usage need no Temporal and no database, and neither does the API's client.
    from tertulia.client.client import Tertulia

    quieten_libraries()

    async def connected() -> T:
        async with Tertulia.connect(configuration, organisation=configuration.organisation, is_lazy=True) as client:
            return await work(client)

    return asyncio.run(connected())


def _remotely(configuration: "Configuration", work: Callable[["Tertulia"], Awaitable[T]]) -> T:
    from tertulia.client.client import Tertulia

    key = configuration.api_key.get_secret_value() if configuration.api_key else None

    async def connected() -> T:
        async with Tertulia.connect_http(configuration.api_url, key) as client:
            return await work(client)

    return asyncio.run(connected())


@cache
def quieten_libraries() -> None:
    """What libraries log is not for the terminal of a user, least of all on standard output, where Temporal's core
    writes: what matters of it comes as an error.
    """
    from temporalio.runtime import Runtime, TelemetryConfig

    for name in _LIBRARIES:
        logging.getLogger(name).addHandler(logging.NullHandler())
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)), error_if_already_set=False)


def in_words(error: Exception) -> str | None:
    """One line for an error that is meant to be read; None for one that is a fault of this program."""
    from tertulia.configuration import ConfigurationError
    from tertulia.core.errors import TertuliaError
    from tertulia.devstack.errors import StackError

    if isinstance(error, ConfigurationError | StackError | TertuliaError):
        return str(error)
    # What was never imported has raised nothing.
    if "sqlalchemy" in sys.modules:
        from sqlalchemy.exc import DBAPIError

        if isinstance(error, DBAPIError):
            return f"the database: {' '.join(str(error.orig).split())}"
    if "temporalio" in sys.modules:
        from temporalio.service import RPCError

        if isinstance(error, RPCError):
            return f"Temporal: {error.message}"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return None

"""Run one command: connect, do the work, and turn an error into one line."""

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
    from tertulia.client.conversation import Conversation
    from tertulia.client.operator import Operator
    from tertulia.configuration import Configuration

T = TypeVar("T")

_LIBRARIES = ("psycopg", "sqlalchemy", "temporalio")


def load_configuration(data: Path | None) -> "Configuration":
    """Read the configuration; `--data` goes before the environment.

    Raises:
        ConfigurationError: a setting is malformed.
    """
    from tertulia.configuration import Configuration

    if data is not None:
        os.environ["TERTULIA_DATA"] = str(data)
    return Configuration.from_environment()


def with_client(data: Path | None, work: Callable[["Tertulia"], Awaitable[T]]) -> T:
    """Run `work` with a client of the API that `TERTULIA_URL` names or, without it, of the servers themselves.

    Raises:
        ConfigurationError: two different systems are named, or none.
    """
    # Imported here: `--help` and wrong usage need no client, and a client of the API needs neither Temporal nor SQL.
    from tertulia.client.client import Tertulia
    from tertulia.core.errors import ConfigurationError

    configuration = load_configuration(data)
    if configuration.api_url is not None and data is not None:
        raise ConfigurationError("--data names a stack on this machine, and TERTULIA_URL an API: leave one of them out")

    async def run_over_http() -> T:
        key = configuration.api_key.get_secret_value() if configuration.api_key else None
        async with Tertulia.connect_http(configuration.api_url, key) as client:
            return await work(client)

    async def run_directly() -> T:
        async with Tertulia.connect(configuration, organisation=configuration.organisation, is_lazy=True) as client:
            return await work(client)

    if configuration.api_url is not None:
        return asyncio.run(run_over_http())
    silence_library_logs()
    return asyncio.run(run_directly())


def with_conversation(data: Path | None, prefix: str, work: Callable[["Conversation"], Awaitable[T]]) -> T:
    """Run `work` with the conversation whose id is `prefix` or, failing that, the only one whose id starts with it.

    Raises:
        NotFound: no id starts with `prefix`.
        CommandRefused: several ids do.
    """

    async def find(client: "Tertulia") -> T:
        return await work(await client.conversations.find(prefix))

    return with_client(data, find)


def with_operator(data: Path | None, work: Callable[["Operator"], Awaitable[T]]) -> T:
    """Run `work` with the operator's client, which the API does not offer.

    Raises:
        ConfigurationError: an API is configured.
    """
    from tertulia.client.client import Tertulia
    from tertulia.core.errors import ConfigurationError

    configuration = load_configuration(data)
    if configuration.api_url is not None and data is None:
        raise ConfigurationError("organisations are not managed through TERTULIA_URL: do this where the database is")
    silence_library_logs()

    async def run_directly() -> T:
        async with Tertulia.connect_operator(configuration) as operator:
            return await work(operator)

    return asyncio.run(run_directly())


@cache
def silence_library_logs() -> None:
    """Keep libraries from logging to the terminal; what matters of it is raised as an error."""
    from temporalio.runtime import Runtime, TelemetryConfig

    for name in _LIBRARIES:
        logging.getLogger(name).addHandler(logging.NullHandler())
    # Temporal's core logs on standard output, which belongs to the command's own output.
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)), error_if_already_set=False)


def format_error(error: Exception) -> str | None:
    """Return one line for an error that is meant for people; None for a fault of this program."""
    from tertulia.core.errors import TertuliaError

    if isinstance(error, TertuliaError):
        return str(error)
    # A library that was never imported has raised nothing.
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

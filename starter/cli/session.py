"""Running one command: connect, do the work, and turn what goes wrong into one line and an exit code."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from configuration import Configuration
    from starter.client import Tertulia

T = TypeVar("T")

_LIBRARIES = ("psycopg", "sqlalchemy", "temporalio")


def configured(data: Path | None) -> "Configuration":
    """The configuration, with `--data` before the environment.

    Raises:
        ConfigurationError: a setting is malformed.
    """
    from configuration import Configuration

    if data is not None:
        os.environ["TERTULIA_DATA"] = str(data)
    return Configuration.from_environment()


def with_client(data: Path | None, work: Callable[["Tertulia"], Awaitable[T]]) -> T:
    """Do `work` with a connected client."""
    # Imported here: `--help` and wrong usage need no Temporal and no database.
    from starter.client import Tertulia

    configuration = configured(data)

    quieten_libraries()

    async def connected() -> T:
        async with Tertulia.connect(configuration, lazy=True) as client:
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
    from sqlalchemy.exc import DBAPIError
    from temporalio.service import RPCError

    from configuration import ConfigurationError
    from devstack.errors import StackError
    from groups.errors import TertuliaError

    if isinstance(error, ConfigurationError | StackError | TertuliaError):
        return str(error)
    if isinstance(error, DBAPIError):
        return f"the database: {' '.join(str(error.orig).split())}"
    if isinstance(error, RPCError):
        return f"Temporal: {error.message}"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return None

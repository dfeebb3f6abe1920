"""One table from the errors of database and Temporal libraries to errors for users.

Invariant: the text of a library's error never reaches users, because it can contain their words.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from inspect import isasyncgenfunction
from typing import Any, TypeVar, cast

from psycopg.errors import UndefinedColumn, UndefinedTable
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from temporalio.service import RPCError

from tertulia.core.errors import Conflict, InvalidDefinition, TertuliaError, Unavailable
from tertulia.core.records import NO_DATABASE

T = TypeVar("T")


def translate_error(error: Exception, database_address: str | None = None) -> TertuliaError | None:
    """Return the error for users; None for a `TertuliaError` and for an error that no user can remedy.

    Args:
        error: of a library.
        database_address: named to users who configure the database themselves; None = users of the API, who do not.
    """
    match error:
        case DBAPIError(orig=UndefinedTable() | UndefinedColumn()):
            return Unavailable("the database lacks tables of this version; `tertulia migrate` brings it up to date")
        case DataError():
            return InvalidDefinition("a text or a number cannot be stored: NUL characters, or a number out of range")
        case UnicodeEncodeError():
            return InvalidDefinition("a text holds half of a surrogate pair, which cannot be stored")
        case IntegrityError():
            return Conflict("an existing row prevents the change, or a required row has gone; read it and try again")
        case DBAPIError() | PoolTimeoutError() | TimeoutError():
            return Unavailable(_no_database_at(database_address) if database_address else NO_DATABASE)
        case RPCError():
            return Unavailable("Temporal does not answer")
    return None


def _no_database_at(address: str) -> str:
    return (
        f"no database answers at {address}, or it refuses the connection; is it running, and are the name and password"
        " in DATABASE_URL right?"
    )


def translating(service: T, database_address: str) -> T:
    """Return `service` so that each of its async methods raises the errors of `translate_error`."""
    return cast(T, _Translating(service, database_address))


class _Translating:
    def __init__(self, service: object, database_address: str) -> None:
        self._service = service
        self._database_address = database_address

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._service, name)
        translated = _translate_stream if isasyncgenfunction(method) else _translate_call
        return partial(translated, self._database_address, method)


async def _translate_call(
    database_address: str, method: Callable[..., Awaitable[T]], *arguments: Any, **options: Any
) -> T:
    try:
        return await method(*arguments, **options)
    except Exception as error:
        raise translate_error(error, database_address) or error from None


async def _translate_stream(
    database_address: str, method: Callable[..., AsyncGenerator[T, None]], *arguments: Any, **options: Any
) -> AsyncGenerator[T, None]:
    try:
        async with aclosing(method(*arguments, **options)) as stream:
            async for item in stream:
                yield item
    except Exception as error:
        raise translate_error(error, database_address) or error from None

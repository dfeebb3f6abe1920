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


def translate_error(error: Exception) -> TertuliaError | None:
    """Return the error for users; None for a `TertuliaError` and for an error that no user can remedy."""
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
            return Unavailable(NO_DATABASE)
        case RPCError():
            return Unavailable("Temporal does not answer")
    return None


def translating(service: T) -> T:
    """Return `service` so that each of its async methods raises the errors of `translate_error`."""
    return cast(T, _Translating(service))


class _Translating:
    def __init__(self, service: object) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._service, name)
        return partial(_translate_stream if isasyncgenfunction(method) else _translate_call, method)


async def _translate_call(method: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
    try:
        return await method(*arguments, **options)
    except Exception as error:
        raise translate_error(error) or error from None


async def _translate_stream(
    method: Callable[..., AsyncGenerator[T, None]], *arguments: Any, **options: Any
) -> AsyncGenerator[T, None]:
    try:
        async with aclosing(method(*arguments, **options)) as stream:
            async for item in stream:
                yield item
    except Exception as error:
        raise translate_error(error) or error from None

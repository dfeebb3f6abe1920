"""What goes wrong, in one shape for every route. Law: an answer names what is wrong and what to do, and never holds the
value that was sent; what only the programmers can mend is told to nobody but the log.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg.errors import UndefinedColumn, UndefinedTable
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from temporalio.service import RPCError

from tertulia.core.errors import (
    CommandRefused,
    Conflict,
    ConversationClosed,
    Forbidden,
    InvalidDefinition,
    NotFound,
    PayloadUnreadable,
    TertuliaError,
    Unavailable,
)

RETRY_AFTER_SECONDS = 1
"""When one who was told that a server does not answer may try again."""
_STATUS: Mapping[type[TertuliaError], int] = {
    InvalidDefinition: 400,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    CommandRefused: 400,
    ConversationClosed: 409,
    Unavailable: 503,
    PayloadUnreadable: 503,
}
_KINDS = {
    400: "InvalidRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    413: "BodyTooLarge",
    415: "UnsupportedMediaType",
    422: "InvalidRequest",
    429: "TooManyRequests",
    503: "Unavailable",
}
_DESCRIPTIONS = {
    400: "What was asked for cannot be done as written; the detail says why.",
    401: "No key, or not a valid one.",
    403: "The key lacks the scope that this needs.",
    404: "There is nothing of that id, or it is another organisation's.",
    409: "Someone else was first, or what exists stands in the way.",
    413: "The body is too long.",
    422: "The request's form is wrong; `errors` names each field.",
    429: "Too many requests with this key; `Retry-After` says when to come back.",
    503: "A server that is needed does not answer; trying again is safe.",
}


class _Documented(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class FieldProblem(_Documented):
    """What is wrong with one field of a request."""

    loc: list[str | int]
    """Where it is: `body`, `query`, `path` or `header`, and the names from there."""
    msg: str
    type: str


class Problem(_Documented):
    """What went wrong."""

    detail: str
    """What is wrong and what to do, for a person to read."""
    type: str
    """The kind of error, for a program to read."""
    errors: list[FieldProblem] = Field(default_factory=list)
    """Each field that is wrong, where the request's form is."""


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text} for status, text in _DESCRIPTIONS.items()
}
"""What every route may answer, for its documentation."""


def register(app: FastAPI) -> None:
    """Let the application answer errors in this shape."""
    for kind in (HTTPException, RequestValidationError, TertuliaError, DBAPIError, PoolTimeout, RPCError, TimeoutError):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(UnicodeEncodeError, _answer)


def answer_to(error: Exception) -> JSONResponse | None:
    """The answer to a request that ended in this error; None for one that should not have happened."""
    match error:
        case HTTPException():
            return problem(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            return _invalid(error)
        case TertuliaError():
            status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 400)
            return problem(status, str(error), kind=type(error).__name__)
        case DBAPIError():
            return _database_trouble(error)
        case UnicodeEncodeError():
            return problem(400, "a text holds half of a surrogate pair, which cannot be kept")
        case PoolTimeout() | TimeoutError():
            return problem(503, "the database does not answer")
        case RPCError():
            return problem(503, "Temporal does not answer")
    return None


def problem(
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: list[FieldProblem] | None = None,
) -> JSONResponse:
    """An answer that is a problem."""
    body = Problem(detail=detail, type=kind or _KINDS.get(status, "Error"), errors=errors or [])
    if status == 503:
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS), **(headers or {})}
    return JSONResponse(body.model_dump(exclude_defaults=True), status, headers)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    answer = answer_to(error)
    if answer is None:
        raise error
    return answer


def _invalid(error: RequestValidationError) -> JSONResponse:
    fields = [FieldProblem(loc=list(one["loc"]), msg=_message(one), type=one["type"]) for one in error.errors()]
    detail = "; ".join(f"{'.'.join(map(str, field.loc))}: {field.msg}" for field in fields)
    return problem(422, detail, errors=fields)


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown field"
    return str(error["msg"]).removeprefix("Value error, ")


def _database_trouble(error: DBAPIError) -> JSONResponse:
    if isinstance(error.orig, UndefinedTable | UndefinedColumn):
        return problem(503, "the database lacks tables of this version; `tertulia migrate` brings it up to date")
    if isinstance(error, DataError):
        return problem(400, "a text or a number cannot be kept: NUL characters, or a number out of range")
    if isinstance(error, IntegrityError):
        return problem(409, "what exists stands in the way, or has gone meanwhile; look at it again and try again")
    return problem(503, "the database does not answer")

"""Problems, in one shape for every route. Invariant: an answer names what is wrong and what to do, and never contains
the value that was sent; an internal error is described in the log alone.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg.errors import UndefinedColumn, UndefinedTable
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
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
from tertulia.core.validation_messages import validation_message

RETRY_AFTER_SECONDS = 1
"""Seconds after which a client whose server did not answer may try again."""
_STATUS_BY_ERROR: Mapping[type[TertuliaError], int] = {
    InvalidDefinition: 400,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    CommandRefused: 400,
    ConversationClosed: 409,
    Unavailable: 503,
    PayloadUnreadable: 503,
}
_DEFAULT_TYPES = {
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
    """A problem of one field of a request."""

    loc: list[str | int]
    """The place: `body`, `query`, `path` or `header`, and the names from there."""
    msg: str
    type: str


class Problem(_Documented):
    """The body of every refusal."""

    detail: str
    """The reason and the remedy, for a person to read."""
    type: str
    """The kind of error, for a program to read."""
    errors: list[FieldProblem] = Field(default_factory=list)
    """Each field that is wrong, where the request's form is."""


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text} for status, text in _DESCRIPTIONS.items()
}
"""Problems that every route may answer with, for its documentation."""


def register_error_handlers(app: FastAPI) -> None:
    """Let the application answer errors in this shape."""
    for error_type in (
        HTTPException,
        RequestValidationError,
        TertuliaError,
        DBAPIError,
        PoolTimeoutError,
        RPCError,
        TimeoutError,
    ):
        app.add_exception_handler(error_type, _handle_error)
    app.add_exception_handler(UnicodeEncodeError, _handle_error)


def error_response(error: Exception) -> JSONResponse | None:
    """The answer to a request that ended in this error; None for one that should not have happened."""
    match error:
        case HTTPException():
            return problem_response(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            return _validation_problem(error)
        case TertuliaError():
            status = next(
                (_STATUS_BY_ERROR[error_type] for error_type in type(error).__mro__ if error_type in _STATUS_BY_ERROR),
                400,
            )
            return problem_response(status, str(error), error_type=error.code)
        case DBAPIError():
            return _database_problem(error)
        case UnicodeEncodeError():
            return problem_response(400, "a text holds half of a surrogate pair, which cannot be kept")
        case PoolTimeoutError() | TimeoutError():
            return problem_response(503, "the database does not answer")
        case RPCError():
            return problem_response(503, "Temporal does not answer")
    return None


def problem_response(
    status: int,
    detail: str,
    *,
    error_type: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: list[FieldProblem] | None = None,
) -> JSONResponse:
    """An answer that is a problem."""
    body = Problem(detail=detail, type=error_type or _DEFAULT_TYPES.get(status, "Error"), errors=errors or [])
    if status == 503:
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS), **(headers or {})}
    return JSONResponse(body.model_dump(exclude_defaults=True), status, headers)


async def _handle_error(request: Request, error: Exception) -> JSONResponse:
    response = error_response(error)
    if response is None:
        raise error
    return response


def _validation_problem(error: RequestValidationError) -> JSONResponse:
    fields = [
        FieldProblem(loc=list(one["loc"]), msg=validation_message(one), type=one["type"]) for one in error.errors()
    ]
    detail = "; ".join(f"{'.'.join(map(str, field.loc))}: {field.msg}" for field in fields)
    return problem_response(422, detail, errors=fields)


def _database_problem(error: DBAPIError) -> JSONResponse:
    if isinstance(error.orig, UndefinedTable | UndefinedColumn):
        return problem_response(
            503, "the database lacks tables of this version; `tertulia migrate` brings it up to date"
        )
    if isinstance(error, DataError):
        return problem_response(400, "a text or a number cannot be kept: NUL characters, or a number out of range")
    if isinstance(error, IntegrityError):
        return problem_response(
            409, "what exists stands in the way, or has gone meanwhile; look at it again and try again"
        )
    return problem_response(503, "the database does not answer")

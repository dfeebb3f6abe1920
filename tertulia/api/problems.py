"""Error responses: one shape, `Problem`, for every route, and the table from error codes to HTTP statuses.

Invariant: a problem names the field, what is wrong and what to do; it never contains an invalid value of the request,
and internal errors are described only in the log.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from temporalio.service import RPCError

from tertulia.core.errors import (
    ROUTE_NOT_FOUND,
    ApiUnavailable,
    CommandRefused,
    ConfigurationError,
    Conflict,
    ConversationClosed,
    EventsUnavailable,
    Forbidden,
    IdTaken,
    InvalidDefinition,
    NotFound,
    PayloadUnreadable,
    PendingLimitExceeded,
    RollingOver,
    TertuliaError,
    Unauthorized,
    Unavailable,
    WrongAddress,
)
from tertulia.core.validation_messages import field_path, validation_message
from tertulia.service.error_translation import translate_error

RETRY_AFTER_SECONDS = 1
"""Seconds after which a client whose server did not answer may try again."""
STATUS_BY_CODE: Mapping[str, int] = {
    TertuliaError.code: 400,
    InvalidDefinition.code: 400,
    CommandRefused.code: 400,
    PendingLimitExceeded.code: 400,
    IdTaken.code: 400,
    Unauthorized.code: 401,
    Forbidden.code: 403,
    NotFound.code: 404,
    Conflict.code: 409,
    ConversationClosed.code: 409,
    Unavailable.code: 503,
    ApiUnavailable.code: 503,
    EventsUnavailable.code: 503,
    RollingOver.code: 503,
    PayloadUnreadable.code: 503,
    # No request can cause these two: a setting of a server is wrong.
    ConfigurationError.code: 503,
    WrongAddress.code: 503,
}
"""HTTP status of every error code."""
_TYPE_BY_STATUS = {
    400: "InvalidRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: ROUTE_NOT_FOUND,
    405: "MethodNotAllowed",
    409: "Conflict",
    413: "BodyTooLarge",
    415: "UnsupportedMediaType",
    422: "InvalidRequest",
    429: "TooManyRequests",
    503: "Unavailable",
}
_DESCRIPTIONS = {
    400: "The request cannot be carried out; `detail` has the reason.",
    401: "The API key is missing or not valid.",
    403: "The API key lacks the scope that this route needs.",
    404: "The organisation has nothing with this id.",
    409: "Another change came first, or the present state does not allow this change.",
    413: "The body is too long.",
    422: "The request is malformed; `errors` names each field.",
    429: "Too many requests with this key; try again after the seconds in `Retry-After`.",
    503: "A required server does not answer; a retry is safe.",
}


class FieldProblem(BaseModel):
    """A problem of one field of a request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    loc: list[str | int]
    """Path of the field, from `body`, `query`, `path` or `header`."""
    msg: str
    """Required form of the value."""
    type: str
    """Kind of the problem, for programs."""


class Problem(BaseModel):
    """Body of every error response."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    detail: str
    """Reason and remedy, for people."""
    type: str
    """Error code, for programs: stable, and the same as in Temporal and in the Python client."""
    errors: list[FieldProblem] = Field(default_factory=list)
    """Invalid fields of a malformed request."""


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text} for status, text in _DESCRIPTIONS.items()
}
"""Error responses of every route, for the OpenAPI document."""


def register_error_handlers(app: FastAPI) -> None:
    """Make the application answer errors with a `Problem`."""
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
    """Return the response for an error; None for an unexpected error, which the access log answers with 500."""
    match error:
        case HTTPException():
            return problem_response(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            return _validation_problem(error)
        case TertuliaError():
            return problem_response(STATUS_BY_CODE[error.code], str(error), error_type=error.code)
    translated = translate_error(error)
    return None if translated is None else error_response(translated)


def problem_response(
    status: int,
    detail: str,
    *,
    error_type: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: list[FieldProblem] | None = None,
) -> JSONResponse:
    """Return an error response; without `error_type`, its type follows from the status."""
    body = Problem(detail=detail, type=error_type or _TYPE_BY_STATUS.get(status, "Error"), errors=errors or [])
    # Clients such as Letta's wait this long before they try again.
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
    detail = "; ".join(f"{field_path(field.loc)}: {field.msg}" for field in fields)
    return problem_response(422, detail, errors=fields)

"""Errors for HTTP responses that are not results. Invariant: they name the address or variable, never the key."""

from http import HTTPStatus

from pydantic import BaseModel, ValidationError

from tertulia.core.errors import (
    ROUTE_NOT_FOUND,
    ApiUnavailable,
    CommandRefused,
    Forbidden,
    InvalidDefinition,
    TertuliaError,
    Unauthorized,
    Unavailable,
    WrongAddress,
    error_from_code,
)
from tertulia.core.validation_messages import field_path

URL_VARIABLE = "TERTULIA_URL"
KEY_VARIABLE = "TERTULIA_API_KEY"


class _FieldProblem(BaseModel):
    loc: list[str | int]
    msg: str


class _Problem(BaseModel):
    detail: str
    type: str
    errors: list[_FieldProblem] = []


def error_from_response(
    url: str, path: str, status: int, body: bytes, *, with_key: bool, retry_after: str | None = None
) -> TertuliaError:
    """Return the error for a response that is not a result.

    Args:
        url: the API's address.
        path: the path that was requested.
        status: the response's status.
        body: the response's body.
        with_key: the request had a key.
        retry_after: the header `Retry-After`, in seconds.
    """
    try:
        problem = _Problem.model_validate_json(body)
    except ValidationError:
        return _unexpected_status(url, status)
    detail = problem.detail
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return Unauthorized(_missing_key_message(url) if not with_key else _invalid_key_message(url))
        case HTTPStatus.FORBIDDEN:
            return Forbidden(f"{KEY_VARIABLE}: {detail}")
        case HTTPStatus.NOT_FOUND if problem.type == ROUTE_NOT_FOUND:
            return WrongAddress(
                f"{URL_VARIABLE}: {url} has no {path}: is it the API's address, and of this command's version?"
            )
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return CommandRefused(f"{detail}; TERTULIA_MAX_BODY_BYTES of the API at {url} sets the limit")
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            return InvalidDefinition("; ".join(map(_field_message, problem.errors)) or detail)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return Unavailable(f"the API at {url}: {detail}")
        case HTTPStatus.SERVICE_UNAVAILABLE:
            delay = f"; try again in {retry_after} s" if retry_after else ""
            return error_from_code(problem.type, f"the API at {url}: {detail}{delay}", default=Unavailable)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(f"the API at {url} answered {status}: {detail}")
    return error_from_code(problem.type, detail, default=CommandRefused)


def _field_message(problem: _FieldProblem) -> str:
    # The first part of the place is `body`, `query`, `path` or `header`, which users of the client do not see.
    place = field_path(problem.loc[1:])
    return f"{place}: {problem.msg}" if place else problem.msg


def api_unavailable(url: str, detail: str = "does not answer") -> ApiUnavailable:
    """Return the error for an API that gives no answer of its own."""
    reason = f"the API at {url} {detail}"
    return ApiUnavailable(f"{reason}; is it running, and is {URL_VARIABLE} right?", reason=reason)


def unexpected_response(url: str) -> TertuliaError:
    """Return the error for a response that the API cannot have sent."""
    return WrongAddress(f"{URL_VARIABLE}: the server at {url} is not Tertulia's API, or runs another version")


def _unexpected_status(url: str, status: int) -> TertuliaError:
    """Map a response that is not a problem: 5xx to `ApiUnavailable`, anything else to `WrongAddress`."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return api_unavailable(url, f"cannot be reached: a proxy in front of it answered {status}")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return WrongAddress(f"{URL_VARIABLE}: {url} redirects ({status}); configure the address of the API itself")
    return unexpected_response(url)


def _missing_key_message(url: str) -> str:
    return (
        f"{KEY_VARIABLE} is not set, and the API at {url} requires a key; "
        "`tertulia keys create NAME --scope operate`, run where its servers are, creates one"
    )


def _invalid_key_message(url: str) -> str:
    return (
        f"{KEY_VARIABLE}: the API at {url} does not accept this key: it is mistyped or was revoked; "
        "`tertulia keys list`, run where its servers are, lists the valid ones"
    )

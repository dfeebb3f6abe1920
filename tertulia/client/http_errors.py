"""Errors for HTTP responses that are not results. Invariant: they name the address or variable, never the key."""

from http import HTTPStatus

from pydantic import BaseModel, ValidationError

from tertulia.core.errors import (
    ApiUnavailable,
    CommandRefused,
    Forbidden,
    InvalidDefinition,
    PayloadUnreadable,
    TertuliaError,
    Unauthorized,
    Unavailable,
    WrongAddress,
    error_from_code,
)

URL_VARIABLE = "TERTULIA_URL"
KEY_VARIABLE = "TERTULIA_API_KEY"
_NO_ROUTE_DETAIL = "Not Found"


class _Problem(BaseModel):
    detail: str
    type: str


def error_from_response(url: str, path: str, status: int, body: bytes, *, with_key: bool) -> TertuliaError:
    """Return the error for a response with this status; `path` was requested."""
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
        case HTTPStatus.NOT_FOUND if detail == _NO_ROUTE_DETAIL:
            return WrongAddress(
                f"{URL_VARIABLE}: {url} has no {path}: is it the API's address, and of this command's version?"
            )
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return CommandRefused(f"{detail}; TERTULIA_MAX_BODY_BYTES of the API at {url} sets the limit")
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            return InvalidDefinition(detail.replace("body.", ""))
        case HTTPStatus.TOO_MANY_REQUESTS:
            return Unavailable(f"the API at {url}: {detail}")
        case HTTPStatus.SERVICE_UNAVAILABLE if problem.type == PayloadUnreadable.code:
            return PayloadUnreadable(detail)
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return Unavailable(f"the API at {url}: {detail}{'' if 'again' in detail else '; try again in a moment'}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(f"the API at {url} answered {status}: {detail}")
    return error_from_code(problem.type, detail, default=CommandRefused)


def api_unavailable(url: str, detail: str = "does not answer") -> ApiUnavailable:
    """Return the error for an API that gives no answer of its own."""
    reason = f"the API at {url} {detail}"
    return ApiUnavailable(f"{reason}; is it running, and is {URL_VARIABLE} right?", reason=reason)


def unexpected_response(url: str) -> TertuliaError:
    """Return the error for a response that the API cannot have sent."""
    return WrongAddress(f"{URL_VARIABLE}: what answers at {url} is not Tertulia's API, or of another version")


def _unexpected_status(url: str, status: int) -> TertuliaError:
    """Map a response that is not a problem: 5xx to `ApiUnavailable`, anything else to `WrongAddress`."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return api_unavailable(url, f"cannot be reached: something before it answered {status}")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return WrongAddress(f"{URL_VARIABLE}: {url} sends one elsewhere ({status}): write the API's own address")
    return unexpected_response(url)


def _missing_key_message(url: str) -> str:
    return (
        f"{KEY_VARIABLE} is not set, and the API at {url} wants a key: "
        "`tertulia keys create NAME --scope operate` makes one where its servers are"
    )


def _invalid_key_message(url: str) -> str:
    return (
        f"{KEY_VARIABLE}: the API at {url} does not take this key: it is mistyped or was revoked; "
        "`tertulia keys list` shows, where its servers are, those that are there"
    )

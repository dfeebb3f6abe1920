"""Who asks, by the key that the request brings. Law: a request without a valid key is refused before it is read."""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from tertulia.api.limits import Rates
from tertulia.api.problems import answer_to
from tertulia.core.errors import Forbidden
from tertulia.core.keys import Scope
from tertulia.service.connection import Connection
from tertulia.service.keys import check_key
from tertulia.service.principal import Principal

API = "/v1/"
_OPEN = ("/v1/health/", "/v1/codec/")
"""What needs no key, or finds its own."""
_NO_KEY = (
    "this needs a key, as `Authorization: Bearer tertulia_…` or `X-API-Key: tertulia_…`; "
    "`tertulia keys create NAME --scope operate` makes one"
)
_WRONG_KEY = "the key is not valid: it is mistyped or was revoked; `tertulia keys list` shows those that are there"
_CHALLENGE = {"WWW-Authenticate": "Bearer"}

_bearer = HTTPBearer(auto_error=False, scheme_name="Bearer", description="A key of `tertulia keys create`.")
_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, scheme_name="X-API-Key", description="The same key, in a header of its own."
)


class Door:
    """Lets nobody without a valid key pass to the API, nor anyone who comes too often."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on."""
        if scope["type"] == "http" and _guarded(scope["path"]):
            try:
                await admitted(Request(scope))
            except Exception as error:
                refusal = answer_to(error)
                if refusal is None:
                    raise
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def admitted(request: Request) -> Principal:
    """Who asks, found out once for each request.

    Raises:
        HTTPException: 401 without a valid key, 429 when it is used too often.
    """
    known: Principal | None = getattr(request.state, "principal", None)
    if known is not None:
        return known
    secret = _key_of(request)
    if secret is None:
        raise HTTPException(401, _NO_KEY, _CHALLENGE)
    connection: Connection = request.app.state.connection
    principal = await check_key(connection.database, secret)
    if principal is None:
        raise HTTPException(401, _WRONG_KEY, _CHALLENGE)
    request.state.principal = principal
    rates: Rates = request.app.state.rates
    rates.take(principal.key_id)
    return principal


@cache
def require(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """A dependency: who asks, if the key has this scope.

    Raises (when the route is asked):
        Forbidden: it has not.
    """

    async def allowed(
        request: Request,
        _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        _header: Annotated[str | None, Security(_header)],
    ) -> Principal:
        principal = await admitted(request)
        if not principal.may(scope):
            raise Forbidden(
                f"this needs a key with the scope {scope!r}; yours has {', '.join(sorted(principal.scopes))}"
            )
        return principal

    return allowed


Reader = Annotated[Principal, Depends(require("read"))]
Poster = Annotated[Principal, Depends(require("post"))]
Operator = Annotated[Principal, Depends(require("operate"))]
Administrator = Annotated[Principal, Depends(require("admin"))]


def _guarded(path: str) -> bool:
    return path.startswith(API) and not f"{path}/".startswith(_OPEN)


def _key_of(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.headers.get("x-api-key", "").strip() or None

"""Authentication by API key. Invariant: a request without a valid key is refused before its body is read."""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from tertulia.api.limits import RateLimiter
from tertulia.api.problems import error_response
from tertulia.core.errors import Forbidden
from tertulia.core.keys import Scope
from tertulia.service.connection import Connection
from tertulia.service.keys import check_key
from tertulia.service.principal import Principal

API = "/v1/"
_PUBLIC_PREFIXES = ("/v1/health/", "/v1/codec/")
"""Paths that need no key, or check it themselves: the codec also accepts a cookie."""
_MISSING_KEY = (
    "an API key is missing: send `Authorization: Bearer tertulia_…` or `X-API-Key: tertulia_…`; "
    "`tertulia keys create NAME --scope operate` creates one"
)
_INVALID_KEY = "the API key is not valid: it is mistyped or was revoked; `tertulia keys list` lists the keys"
_CHALLENGE_HEADERS = {"WWW-Authenticate": "Bearer"}

_bearer = HTTPBearer(auto_error=False, scheme_name="Bearer", description="A key created with `tertulia keys create`.")
_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, scheme_name="X-API-Key", description="The same key in another header."
)


class AuthMiddleware:
    """Refuse requests to the API without a valid key, and requests above the rate limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] == "http" and _requires_key(scope["path"]):
            try:
                await authenticate(Request(scope))
            except Exception as error:
                response = error_response(error)
                if response is None:
                    raise
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def authenticate(request: Request) -> Principal:
    """Return the principal of the request's key. The key is read once per request.

    Raises:
        HTTPException: 401 without a valid key, 429 above the rate limit.
    """
    # The middleware authenticates before the body is read; the route's dependency asks again.
    cached: Principal | None = getattr(request.state, "principal", None)
    if cached is not None:
        return cached
    secret = _read_key(request)
    if secret is None:
        raise HTTPException(401, _MISSING_KEY, _CHALLENGE_HEADERS)
    connection: Connection = request.app.state.connection
    principal = await check_key(connection.database, secret)
    if principal is None:
        raise HTTPException(401, _INVALID_KEY, _CHALLENGE_HEADERS)
    request.state.principal = principal
    rate_limiter: RateLimiter = request.app.state.rate_limiter
    rate_limiter.take(principal.key_id)
    return principal


# Cached: FastAPI runs a dependency once per request only if it is the same function.
@cache
def require(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """Return a dependency that gives the principal of the request.

    The dependency raises `Forbidden` for a key without `scope`.
    """

    async def check_scope(
        request: Request,
        # Both only document the headers: `authenticate` reads them.
        _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        _header: Annotated[str | None, Security(_header)],
    ) -> Principal:
        principal = await authenticate(request)
        if not principal.has_scope(scope):
            raise Forbidden(
                f"this needs a key with the scope {scope!r}; your key has {', '.join(sorted(principal.scopes))}"
            )
        return principal

    return check_scope


Reader = Annotated[Principal, Depends(require("read"))]
Poster = Annotated[Principal, Depends(require("post"))]
Operator = Annotated[Principal, Depends(require("operate"))]
Administrator = Annotated[Principal, Depends(require("admin"))]


def _requires_key(path: str) -> bool:
    return path.startswith(API) and not f"{path}/".startswith(_PUBLIC_PREFIXES)


def _read_key(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.headers.get("x-api-key", "").strip() or None

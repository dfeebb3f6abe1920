"""Access log: one line per request.

Invariant: neither keys nor text of people and agents is logged. A line names the route, not the path, and the class and
place of an error, not its message.
"""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tertulia.api.disconnect import CLIENT_DISCONNECTED
from tertulia.api.path_normalisation import ROUTE_TEMPLATE
from tertulia.api.problems import problem_response
from tertulia.core.errors import error_location

_SERVER_ERROR = 500

logger = logging.getLogger("tertulia.api")


class AccessLogMiddleware:
    """Log method, route, status, milliseconds and key id of each request; answer unexpected errors with 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and log its result."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at = time.perf_counter()
        status = CLIENT_DISCONNECTED

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        except Exception as error:
            # Without a traceback: its last line is the error's message, which may contain text of people and agents.
            logger.error("unexpected error in %s: %s", _route_template(scope), error_location(error))  # noqa: TRY400
            # No response has started yet; otherwise the connection is closed without an end of the response.
            if status == CLIENT_DISCONNECTED:
                response = problem_response(
                    _SERVER_ERROR, "internal error; the API's log shows its place", error_type="Fault"
                )
                await response(scope, receive, send_and_record)
        finally:
            milliseconds = (time.perf_counter() - started_at) * 1000
            logger.info(
                "%s %s %d %.1f ms %s", scope["method"], _route_template(scope), status, milliseconds, _key_id(scope)
            )


def _route_template(scope: Scope) -> str:
    # A path may contain names and ids.
    return str(scope.get(ROUTE_TEMPLATE, "(no route)"))


def _key_id(scope: Scope) -> str:
    principal = scope.get("state", {}).get("principal")
    return principal.key_id if principal else "(no key)"

"""Access log: one line for each request. Invariant: neither keys nor text of people and agents is logged. A line names
the route, not the address, and an error's type and place, not its message.
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
    """Tells each request's method, route, status, milliseconds and key, and turns faults into answers of 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and log how it went."""
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
            logger.error("a fault in %s: %s", _route_template(scope), error_location(error))  # noqa: TRY400 - its words stay out of it
            if status == CLIENT_DISCONNECTED:
                response = problem_response(
                    _SERVER_ERROR, "a fault of this program; its log says where", error_type="Fault"
                )
                await response(scope, receive, send_and_record)
        finally:
            milliseconds = (time.perf_counter() - started_at) * 1000
            logger.info(
                "%s %s %d %.1f ms %s", scope["method"], _route_template(scope), status, milliseconds, _key_id(scope)
            )


def _route_template(scope: Scope) -> str:
    """The route's template: an address may hold names."""
    return str(scope.get(ROUTE_TEMPLATE, "(no route)"))


def _key_id(scope: Scope) -> str:
    principal = scope.get("state", {}).get("principal")
    return principal.key_id if principal else "(no key)"

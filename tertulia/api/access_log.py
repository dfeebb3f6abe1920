"""One line for each request. Law: neither keys nor what people and agents say is in a log: a line names the route, not
the address, and a fault its kind and place, not its words.
"""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tertulia.api.disconnect import NOT_ANSWERED
from tertulia.api.path_normalisation import TEMPLATE
from tertulia.api.problems import problem
from tertulia.core.errors import error_location

_SERVER_ERROR = 500

logger = logging.getLogger("tertulia.api")


class AccessLog:
    """Tells each request's method, route, status, milliseconds and key, and turns faults into answers of 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and log how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = NOT_ANSWERED

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            logger.error("a fault in %s: %s", _route(scope), error_location(error))  # noqa: TRY400 - its words stay out of it
            if status == NOT_ANSWERED:
                fault = problem(_SERVER_ERROR, "a fault of this program; its log says where", kind="Fault")
                await fault(scope, receive, noted)
        finally:
            milliseconds = (time.perf_counter() - began) * 1000
            logger.info("%s %s %d %.1f ms %s", scope["method"], _route(scope), status, milliseconds, _key(scope))


def _route(scope: Scope) -> str:
    """The route's template: an address may hold names."""
    return str(scope.get(TEMPLATE, "(no route)"))


def _key(scope: Scope) -> str:
    principal = scope.get("state", {}).get("principal")
    return principal.key_id if principal else "(no key)"

"""Match each path to its route before any other middleware runs.

Invariant: a trailing slash makes no difference and causes no redirect: a redirect would lose a streamed body.
"""

import re
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from tertulia.api.problems import problem_response

ROUTE_TEMPLATE = "tertulia.template"
"""Key of the ASGI scope for the route's template, such as `/v1/agents/{agent_id}`; missing without a route."""
_PARAMETER = re.compile(r"\\\{[^/]*?\\\}")


class PathNormalisationMiddleware:
    """Find the template of each request; refuse methods that its path does not have.

    Args:
        app: the application behind this middleware.
        methods: methods by template.
    """

    def __init__(self, app: ASGIApp, methods: Mapping[str, Iterable[str]]) -> None:
        self._app = app
        # `/agents/count` would also match `/agents/{agent_id}`: templates with fewer parameters come first.
        self._templates = sorted(methods, key=lambda template: template.count("{"))
        self._methods = {template: frozenset(name.upper() for name in methods[template]) for template in methods}
        self._pattern = re.compile("|".join(f"({_pattern(template)})" for template in self._templates))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on under the path of its route."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        other = path[:-1] if path.endswith("/") else f"{path}/"
        for form in (path, other):
            match = self._pattern.fullmatch(form)
            if match is None or match.lastindex is None:
                continue
            scope["path"], scope[ROUTE_TEMPLATE] = form, self._templates[match.lastindex - 1]
            allowed = self._methods[scope[ROUTE_TEMPLATE]]
            if scope["method"] not in allowed:
                names = ", ".join(sorted(allowed))
                response = problem_response(
                    405, f"the method {scope['method']} is not allowed here; allowed: {names}", headers={"Allow": names}
                )
                await response(scope, receive, send)
                return
            break
        await self._app(scope, receive, send)


def _pattern(template: str) -> str:
    return _PARAMETER.sub("[^/]+", re.escape(template))

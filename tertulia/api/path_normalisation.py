"""Which route a path is meant for, known before anything else is done. A slash at a path's end makes no difference, and
needs no redirect: that would lose a body that is sent only once.
"""

import re
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from tertulia.api.problems import problem_response

ROUTE_TEMPLATE = "tertulia.template"
"""Under which the connection's scope has the route's template, where there is a route."""
_PARAMETER = re.compile(r"\\\{[^/]*?\\\}")


class PathNormalisationMiddleware:
    """Finds each request's template, and refuses methods that its path does not have.

    Args:
        methods: each template's.
    """

    def __init__(self, app: ASGIApp, methods: Mapping[str, Iterable[str]]) -> None:
        self._app = app
        # What has no parameters is meant literally, also where it could be a parameter's value.
        self._templates = sorted(methods, key=lambda template: template.count("{"))
        self._methods = {template: frozenset(name.upper() for name in methods[template]) for template in methods}
        self._pattern = re.compile("|".join(f"({_pattern(template)})" for template in self._templates))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on under the path that its route has."""
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
                    405, f"{scope['method']} is not possible here, but {names}", headers={"Allow": names}
                )
                await response(scope, receive, send)
                return
            break
        await self._app(scope, receive, send)


def _pattern(template: str) -> str:
    return _PARAMETER.sub("[^/]+", re.escape(template))

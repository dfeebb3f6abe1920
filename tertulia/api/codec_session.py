"""Cookie session of a browser that shows Temporal's UI, which sends cookies but none of our keys.
Invariant: the key is in a cookie that no script can read, that is sent to the codec alone, from pages of its own site,
until the browser is closed.
"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from tertulia.api.problems import PROBLEMS

SESSION_COOKIE = "tertulia_codec"

_PAGE_HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Tertulia: read encrypted conversations</title>
<style>body{font:16px/1.5 system-ui;max-width:36em;margin:4em auto;padding:0 1em}input{width:100%;font:inherit}</style>
<h1>Read encrypted conversations</h1>
<p>With a key that may operate, this browser can decrypt what Temporal's UI shows. In the UI's settings of its codec
server, enter <code id="endpoint"></code> and choose <i>include cross-origin credentials</i>.</p>
<form id="form"><label>Key <input id="key" type="password" autocomplete="off" required></label>
<p><button>Let this browser decrypt</button> <button type="button" id="end">Not any more</button></p></form>
<p id="outcome" role="status"></p>
<script>
const say = text => document.getElementById("outcome").textContent = text;
document.getElementById("endpoint").textContent = location.href.replace(/\\/session.*$/, "");
document.getElementById("form").onsubmit = async event => {
  event.preventDefault();
  const headers = {Authorization: "Bearer " + document.getElementById("key").value.trim()};
  const answer = await fetch(location.pathname, {method: "POST", headers});
  say(answer.ok ? "This browser can decrypt now." : "Refused: " + (await answer.json()).detail);
};
document.getElementById("end").onclick = async () => {
  await fetch(location.pathname, {method: "DELETE"});
  say("This browser cannot decrypt any more.");
};
</script></html>
"""


async def use_session_key(request: Request) -> None:
    """Let the session's key stand where guards look for one, unless the request brings its own."""
    key = request.cookies.get(SESSION_COOKIE)
    if key and "authorization" not in request.headers and "x-api-key" not in request.headers:
        request.scope["headers"].append((b"authorization", f"Bearer {key}".encode("latin-1", "replace")))


def session_router(guard: Callable[..., Awaitable[object]]) -> APIRouter:
    """`/session`: a page that takes a key, and what it calls to begin and to end a session."""
    router = APIRouter(prefix="/session")

    @router.get("", response_class=HTMLResponse)
    async def show_session_page() -> HTMLResponse:
        """The page on which an operator enters a key."""
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
        headers = {"Content-Security-Policy": f"{policy}; frame-ancestors 'none'", "Cache-Control": "no-store"}
        return HTMLResponse(_PAGE_HTML, headers=headers)

    @router.post(
        "",
        status_code=204,
        dependencies=[Depends(guard)],
        responses={status: PROBLEMS[status] for status in (401, 403, 429, 503)},
    )
    async def create_session(request: Request) -> Response:
        """Remember the request's own key in this browser."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise HTTPException(401, "send the key as `Authorization: Bearer …`")
        response = Response(status_code=204)
        response.set_cookie(
            SESSION_COOKIE,
            key.strip(),
            path=_codec_path(request),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    @router.delete("", status_code=204)
    async def delete_session(request: Request) -> Response:
        """Forget it."""
        response = Response(status_code=204)
        response.delete_cookie(SESSION_COOKIE, path=_codec_path(request), httponly=True, samesite="strict")
        return response

    return router


def _codec_path(request: Request) -> str:
    return request.url.path.rpartition("/session")[0]

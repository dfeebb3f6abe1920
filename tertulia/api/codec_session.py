"""Cookie session for a browser with Temporal's UI, which sends cookies to the codec but cannot send API keys.

Invariant: the key is in a cookie that no script can read, that the browser sends only to the codec and only from pages
of the same site, and that it deletes when it is closed.
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
<p>Enter a key with the scope <code>operate</code>: this browser then decrypts what Temporal's UI shows. In the UI's
codec server settings, enter <code id="endpoint"></code> and choose <i>include cross-origin credentials</i>.</p>
<form id="form"><label>Key <input id="key" type="password" autocomplete="off" required></label>
<p><button>Start decrypting</button> <button type="button" id="end">Stop decrypting</button></p></form>
<p id="outcome" role="status"></p>
<script>
const show = text => document.getElementById("outcome").textContent = text;
document.getElementById("endpoint").textContent = location.href.replace(/\\/session.*$/, "");
document.getElementById("form").onsubmit = async event => {
  event.preventDefault();
  const headers = {Authorization: "Bearer " + document.getElementById("key").value.trim()};
  const response = await fetch(location.pathname, {method: "POST", headers});
  show(response.ok ? "This browser decrypts now." : "Refused: " + (await response.json()).detail);
};
document.getElementById("end").onclick = async () => {
  await fetch(location.pathname, {method: "DELETE"});
  show("This browser no longer decrypts.");
};
</script></html>
"""


async def use_session_key(request: Request) -> None:
    """Add the cookie's key to the request as an `Authorization` header, unless the request has a key of its own."""
    key = request.cookies.get(SESSION_COOKIE)
    if key and "authorization" not in request.headers and "x-api-key" not in request.headers:
        request.scope["headers"].append((b"authorization", f"Bearer {key}".encode("latin-1", "replace")))


def session_router(guard: Callable[..., Awaitable[object]]) -> APIRouter:
    """Return the routes of `/session`: a page for the key, and the calls of the page that set and delete the cookie."""
    router = APIRouter(prefix="/session")

    @router.get("", summary="Show the session page", response_class=HTMLResponse)
    async def show_session_page() -> HTMLResponse:
        """Return the page on which an operator enters a key."""
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
        headers = {"Content-Security-Policy": f"{policy}; frame-ancestors 'none'", "Cache-Control": "no-store"}
        return HTMLResponse(_PAGE_HTML, headers=headers)

    @router.post(
        "",
        summary="Start a codec session",
        status_code=204,
        dependencies=[Depends(guard)],
        responses={status: PROBLEMS[status] for status in (401, 403, 429, 503)},
    )
    async def create_session(request: Request) -> Response:
        """Set a cookie with the request's key, for Temporal's UI in this browser."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise HTTPException(401, "an API key is missing: send `Authorization: Bearer …`")
        response = Response(status_code=204)
        response.set_cookie(
            SESSION_COOKIE,
            key.strip(),
            path=_codec_path(request),
            httponly=True,
            samesite="strict",
            # The local API has no TLS, and browsers drop secure cookies of http pages.
            secure=request.url.scheme == "https",
        )
        return response

    @router.delete("", summary="End the codec session", status_code=204)
    async def delete_session(request: Request) -> Response:
        """Delete the cookie."""
        response = Response(status_code=204)
        response.delete_cookie(SESSION_COOKIE, path=_codec_path(request), httponly=True, samesite="strict")
        return response

    return router


def _codec_path(request: Request) -> str:
    return request.url.path.rpartition("/session")[0]

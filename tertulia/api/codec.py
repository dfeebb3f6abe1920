"""Temporal's remote codec: operators read encrypted payloads in Temporal's UI and command line.

Invariant: the key is checked before the body is read. Decrypted payloads are not stored, and in a browser only
Temporal's UI receives them.
"""

from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypedDict
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, WithJsonSchema
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send
from temporalio.api.common.v1 import Payload

from tertulia.api.codec_session import session_router, use_session_key
from tertulia.api.problems import PROBLEMS, Problem
from tertulia.core.base import format_validation_error
from tertulia.core.errors import PayloadUnreadable
from tertulia.temporal.encryption import EncryptionCodec

CODEC_PATH = "/codec"
"""Path of the codec endpoint, below the API's prefix."""
MAX_BODY_BYTES = 16 * 2**20
"""Bytes of a request at most: Temporal allows 4 MiB of payloads, which base64 and JSON make longer."""
_LOCAL_HOSTS = ("127.0.0.1", "localhost")
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

Guard = Callable[..., Awaitable[object]]
"""FastAPI dependency that raises unless the request may decrypt."""


def _from_base64(text: object) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        if isinstance(text, str):
            return b64decode(text, validate=True)
    except ValueError:
        pass
    raise ValueError("must be base64")


Base64 = Annotated[
    bytes,
    BeforeValidator(_from_base64),
    PlainSerializer(lambda data: b64encode(data).decode(), return_type=str),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "pattern": _BASE64}),
]


class WirePayload(BaseModel):
    """One payload in Temporal's JSON form."""

    model_config = ConfigDict(frozen=True)

    metadata: dict[str, Base64] = {}
    data: Base64 = b""


class WirePayloads(BaseModel):
    """Request and response of both codec routes."""

    model_config = ConfigDict(frozen=True)

    payloads: tuple[WirePayload, ...]


_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    **{status: PROBLEMS[status] for status in (401, 403, 413, 429, 503)},
    400: {
        "model": Problem,
        "description": "The body is not a list of payloads, or a payload cannot be decrypted; `detail` has the reason.",
    },
    415: {"model": Problem, "description": "The content type is not `application/json`."},
}
_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{WirePayloads.__name__}"}}},
    }
}


def codec_router(codec: EncryptionCodec, guard: Guard) -> APIRouter:
    """Return the routes `/codec/decode` and `/codec/encode` of Temporal's remote codec protocol, and `/codec/session`.

    Args:
        codec: encrypts and decrypts.
        guard: dependency that raises unless the request may decrypt.
    """
    router = APIRouter(prefix=CODEC_PATH, tags=["codec"])
    route_options: dict[str, Any] = {
        "dependencies": [Depends(use_session_key), Depends(guard)],
        "responses": _ERROR_RESPONSES,
        "openapi_extra": _REQUEST_BODY,
    }

    @router.post("/decode", summary="Decrypt payloads", **route_options)
    async def decode(request: Request) -> WirePayloads:
        """Decrypt payloads. A payload that is not encrypted is returned unchanged."""
        payloads = await _read_payloads(request)
        try:
            return _to_wire(await codec.decode(payloads))
        except PayloadUnreadable as error:
            raise HTTPException(400, str(error)) from None

    @router.post("/encode", summary="Encrypt payloads", **route_options)
    async def encode(request: Request) -> WirePayloads:
        """Encrypt payloads with the newest key."""
        return _to_wire(await codec.encode(await _read_payloads(request)))

    router.include_router(session_router(guard))
    return router


async def _read_payloads(request: Request) -> list[Payload]:
    # A browser sends other content types to any origin without a preflight request.
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "the content type must be application/json")
    try:
        wire_payloads = WirePayloads.model_validate_json(await _read_body(request))
    except ValidationError as error:
        raise HTTPException(400, f"not Temporal payloads: {format_validation_error(error)}"[:1_000]) from None
    return [Payload(metadata=dict(one.metadata), data=one.data) for one in wire_payloads.payloads]


async def _read_body(request: Request) -> bytes:
    # Read here and not by FastAPI, which would read the body before the guard runs.
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is too long: at most {MAX_BODY_BYTES} bytes are allowed")
    return bytes(body)


def _to_wire(payloads: Sequence[Payload]) -> WirePayloads:
    return WirePayloads(
        payloads=tuple(WirePayload(metadata=dict(one.metadata), data=one.data) for one in payloads),
    )


class CorsSettings(TypedDict):
    """Keyword arguments for `CodecCors`."""

    allow_origins: list[str]
    allow_methods: list[str]
    allow_headers: list[str]
    allow_credentials: bool


def cors_settings(temporal_ui_url: str | None) -> CorsSettings:
    """Return CORS settings that let only Temporal's UI call the codec from a browser.

    A UI on this machine is allowed under both local host names. Without a UI, no origin is allowed.
    """
    return CorsSettings(
        allow_origins=_origins(temporal_ui_url) if temporal_ui_url else [],
        allow_methods=["POST"],
        allow_headers=["Authorization", "Authorization-Extras", "Content-Type", "X-Namespace"],
        allow_credentials=True,
    )


def _origins(url: str) -> list[str]:
    parts = urlsplit(url)
    if parts.hostname not in _LOCAL_HOSTS:
        return [f"{parts.scheme}://{parts.netloc}"]
    port = f":{parts.port}" if parts.port else ""
    return [f"{parts.scheme}://{host}{port}" for host in _LOCAL_HOSTS]


class CodecCors(CORSMiddleware):
    """CORS middleware that applies to the codec's routes only."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Apply CORS to the codec's paths; pass other requests on unchanged."""
        if scope["type"] == "http" and f"{CODEC_PATH}/" in scope["path"]:
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)

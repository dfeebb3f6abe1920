"""Temporal's remote codec: lets operators read encrypted payloads in Temporal's UI and command line.
Invariant: the key is checked before a byte of the body is read. Decrypted payloads are not stored, and in a browser
only Temporal's UI receives them.
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
"""End of the codec endpoint's address."""
MAX_BODY_BYTES = 16 * 2**20
"""Temporal takes 4 MiB in one request, which base64 and JSON make longer."""
_LOCAL_HOSTS = ("127.0.0.1", "localhost")
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

Guard = Callable[..., Awaitable[object]]
"""A dependency in FastAPI's sense, which raises unless the request may decrypt."""


def _from_base64(text: object) -> bytes:
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise ValueError("expected base64")  # noqa: TRY004 - a ValueError is what pydantic reports
    return b64decode(text, validate=True)


Base64 = Annotated[
    bytes,
    BeforeValidator(_from_base64),
    PlainSerializer(lambda data: b64encode(data).decode(), return_type=str),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "pattern": _BASE64}),
]


class WirePayload(BaseModel):
    """One payload as Temporal's JSON has it."""

    model_config = ConfigDict(frozen=True)

    metadata: dict[str, Base64] = {}
    data: Base64 = b""


class WirePayloads(BaseModel):
    """The request and the answer of both calls."""

    model_config = ConfigDict(frozen=True)

    payloads: tuple[WirePayload, ...]


_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    **{status: PROBLEMS[status] for status in (401, 403, 413, 429, 503)},
    400: {
        "model": Problem,
        "description": "Not Temporal's payloads, or none that can be decrypted; the detail says why.",
    },
    415: {"model": Problem, "description": "The body is not declared as application/json."},
}
_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{WirePayloads.__name__}"}}},
    }
}


def codec_router(codec: EncryptionCodec, guard: Guard) -> APIRouter:
    """`POST /codec/decode` and `/codec/encode`, in the protocol of Temporal's remote data encoder, for those whom the
    guard lets pass; and `/codec/session`, where a browser gets what it needs for that.
    """
    router = APIRouter(prefix=CODEC_PATH, tags=["codec"])
    route_options: dict[str, Any] = {
        "dependencies": [Depends(use_session_key), Depends(guard)],
        "responses": _ERROR_RESPONSES,
        "openapi_extra": _REQUEST_BODY,
    }

    @router.post("/decode", **route_options)
    async def decode(request: Request) -> WirePayloads:
        """Decrypt payloads; what is not encrypted comes back as it is."""
        payloads = await _read_payloads(request)
        try:
            return _to_wire(await codec.decode(payloads))
        except PayloadUnreadable as error:
            raise HTTPException(400, str(error)) from None

    @router.post("/encode", **route_options)
    async def encode(request: Request) -> WirePayloads:
        """Encrypt payloads under the newest key."""
        return _to_wire(await codec.encode(await _read_payloads(request)))

    router.include_router(session_router(guard))
    return router


async def _read_payloads(request: Request) -> list[Payload]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "the body has to be application/json")
    try:
        wire_payloads = WirePayloads.model_validate_json(await _read_body(request))
    except ValidationError as error:
        raise HTTPException(400, f"not Temporal's payloads: {format_validation_error(error)}"[:1_000]) from None
    return [Payload(metadata=dict(one.metadata), data=one.data) for one in wire_payloads.payloads]


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
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
    """CORS: only Temporal's UI may call the codec from a browser; nobody where there is none. A UI on this machine may
    use either of the machine's names.
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
    """CORS for the codec alone: `app.add_middleware(CodecCors, **cors_settings(configuration.temporal_ui_url))`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Other paths are none of its business."""
        if scope["type"] == "http" and f"{CODEC_PATH}/" in scope["path"]:
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)

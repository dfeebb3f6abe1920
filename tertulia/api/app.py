"""Composition of the API as one ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware

from tertulia.api import (
    agents,
    blocks,
    codec,
    commands,
    conversations,
    events,
    group_messages,
    group_stream,
    groups,
    health,
    keys,
    openapi,
    problems,
)
from tertulia.api.access_log import AccessLogMiddleware
from tertulia.api.limits import BodyLimitMiddleware, RateLimiter
from tertulia.api.path_normalisation import PathNormalisationMiddleware
from tertulia.api.security import API, AuthMiddleware, require
from tertulia.configuration import Configuration
from tertulia.service.connection import Connection
from tertulia.temporal.encryption import EncryptionCodec

_DESCRIPTION = """\
Agents, memory blocks, groups and their conversations. Every request under `/v1`, except `/v1/health`, needs an API key:
`Authorization: Bearer tertulia_…` or `X-API-Key: tertulia_…`. A key gives access to the rows of its organisation only.
Every error response is a `Problem`.

The example request bodies work in the order of this page: they create the agents `ana`, `ben` and `cleo`, the group
`table` and the conversation `table-talk`, and use them.
"""
_POOL_SIZE = 10
"""Database connections that are kept open; further ones are opened while all are busy."""


def create_app(configuration: Configuration) -> FastAPI:
    """Create the API application; it connects to the configured servers when it starts."""
    app = FastAPIOffline(
        title="Tertulia",
        version=version("tertulia"),
        description=_DESCRIPTION,
        openapi_tags=openapi.TAGS,
        redoc_url=None,
        static_url="/docs/assets",
        lifespan=_lifespan_of(configuration),
        # A redirect would lose a streamed body; PathNormalisationMiddleware accepts both forms.
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        swagger_ui_parameters={"persistAuthorization": True},
    )
    app.state.rate_limiter = RateLimiter(configuration.requests_per_minute)
    app.state.stopping = asyncio.Event()
    app.state.default_model = agents.default_model(configuration)
    app.include_router(health.router, prefix="/v1")
    for router in _routers(configuration):
        app.include_router(router, prefix="/v1", responses=problems.PROBLEMS)
    problems.register_error_handlers(app)
    # FastAPI keeps the document that it has generated once, so that it is completed in place.
    document = app.openapi()
    openapi.complete_document(document)
    # The first is the outermost: the log sees every response, CORS headers are on refusals too, and the key is checked
    # before the body is read.
    app.user_middleware = [
        Middleware(AccessLogMiddleware),
        Middleware(codec.CodecCors, **codec.cors_settings(configuration.temporal_ui_url)),
        Middleware(PathNormalisationMiddleware, document["paths"]),
        Middleware(AuthMiddleware),
        Middleware(BodyLimitMiddleware, configuration.max_body_bytes, {f"{API}codec/": codec.MAX_BODY_BYTES}),
    ]
    return app


def _routers(configuration: Configuration) -> tuple[APIRouter, ...]:
    encryption = EncryptionCodec(configuration.encryption_keys)
    definition_routers = (agents.router, blocks.router, groups.router, group_messages.router, group_stream.router)
    conversation_routers = (conversations.router, commands.router)
    # The order of the routes in the document, in which the examples work.
    return (
        *definition_routers,
        *conversation_routers,
        keys.router,
        events.router,
        codec.codec_router(encryption, require("operate")),
    )


def _lifespan_of(configuration: Configuration) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Lazy: an API that starts before Temporal serves the routes that need only the database.
        async with Connection.open(configuration, is_lazy=True, pool_size=_POOL_SIZE) as connection:
            app.state.connection = connection
            async with events.run_listener(app, connection.database):
                yield

    return lifespan

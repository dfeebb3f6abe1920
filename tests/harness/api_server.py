"""The API in this process or as a process of its own, and keys for it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from fastapi import FastAPI

from tertulia.api.app import create_app
from tertulia.configuration import Configuration
from tertulia.core.ids import DEFAULT_ORGANISATION, OrganisationId
from tertulia.core.keys import CreatedKey, NewKey, Scope
from tertulia.core.organisations import NewOrganisation
from tertulia.devstack.stack import Stack
from tertulia.service.keys import create_key
from tertulia.store.database import Database
from tertulia.store.organisations import create_organisation
from tertulia.testing import eventually

_START_SECONDS = 60


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def new_organisation(database: Database) -> OrganisationId:
    """Create an organisation that no other test uses."""
    name = f"org-{uuid4().hex[:12]}"
    return (await create_organisation(database, NewOrganisation(id=name, name=name))).id


async def make_key(
    database: Database, *scopes: Scope, organisation: OrganisationId = DEFAULT_ORGANISATION, name: str = "test"
) -> CreatedKey:
    return await create_key(database, organisation, NewKey(name=name, scopes=scopes))


@asynccontextmanager
async def open_api(configuration: Configuration) -> AsyncIterator[tuple[FastAPI, httpx2.AsyncClient]]:
    """Context manager: the application in this process, and an HTTP client of it."""
    app = create_app(configuration)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        yield app, client


@dataclass
class ApiProcess:
    """A running API process."""

    url: str
    process: asyncio.subprocess.Process
    log: Path

    def client(self, secret: str | None = None, **options: Any) -> httpx2.AsyncClient:
        headers = bearer(secret) if secret else {}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=60, **options)


@asynccontextmanager
async def start_api_process(stack: Stack, log: Path, **variables: str) -> AsyncIterator[ApiProcess]:
    """Start the API as a process of its own and wait until it answers."""
    command = (sys.executable, "-m", "tertulia.api", "--port", "0")
    environment = {**stack.environment, **variables}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=output, stderr=output)
    try:

        async def read_log() -> str:
            text = log_text(log)
            assert process.returncode is None, text
            return text

        text = await eventually(
            read_log, lambda text: "listening on " in text, seconds=_START_SECONDS, interval_seconds=0.05
        )
        yield ApiProcess(text.split("listening on ")[1].split(",")[0], process, log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def log_text(log: Path) -> str:
    """Return the log so far."""
    return log.read_text()


def configuration_for(stack: Stack, **variables: str) -> Configuration:
    """Return the configuration of a program of the stack, with other settings."""
    return Configuration.from_environment({**stack.environment, **variables})

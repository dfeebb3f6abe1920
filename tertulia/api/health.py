"""Liveness and readiness. Invariant: neither needs a key, and no response contains a secret."""

import asyncio
from collections.abc import Awaitable
from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from tertulia.api.problems import PROBLEMS
from tertulia.core.errors import Unavailable
from tertulia.service.connection import Connection
from tertulia.store.database import Database

_CHECK_TIMEOUT_SECONDS = 3.0
_VERSION = version("tertulia")

router = APIRouter(prefix="/health", tags=["health"])


class Health(BaseModel):
    """Response of a running API process."""

    version: str
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Response when every server that the API needs answers."""

    status: Literal["ready"] = "ready"
    database: Literal["ok"] = "ok"
    migrations: Literal["ok"] = "ok"
    temporal: Literal["ok"] = "ok"


@router.get("/", summary="Check liveness")
async def health() -> Health:
    """Answer as long as the process runs, without a check of other servers."""
    return Health(version=_VERSION)


@router.get("/ready", summary="Check readiness", responses={503: PROBLEMS[503]})
async def ready(request: Request) -> Readiness:
    """Answer 200 if Postgres has the tables of this version and Temporal answers; otherwise 503 with the reason."""
    connection: Connection = request.app.state.connection
    checks = (
        _run_check("the database", _check_database(connection.database)),
        _run_check("Temporal", _check_temporal(connection)),
    )
    missing = [problem for problem in await asyncio.gather(*checks) if problem]
    if missing:
        raise Unavailable(f"not ready: {'; '.join(missing)}")
    return Readiness()


async def _check_database(database: Database) -> str | None:
    required = await asyncio.to_thread(_required_version)
    try:
        row = await database.row(text("SELECT version_num FROM alembic_version"))
    except ProgrammingError:
        row = None
    found = f"version {row[0]}" if row else "no tables"
    if found == f"version {required}":
        return None
    return f"the database has {found}, this program needs version {required}; run `tertulia migrate`"


def _required_version() -> str:
    # Imported on the first request: alembic would delay every start of the API.
    from tertulia.store.migrate import head_revision

    return head_revision()


async def _check_temporal(connection: Connection) -> str | None:
    await connection.temporal.service_client.check_health()
    return None


async def _run_check(service_name: str, check: Awaitable[str | None]) -> str | None:
    """Return a description of the problem; None = the server answers."""
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
            return await check
    except SQLAlchemyError as error:
        return f"{service_name}: {type(getattr(error, 'orig', None) or error).__name__}"
    except (TimeoutError, OSError, RuntimeError):
        return f"{service_name} does not answer"

"""A stack for tests: migrated, on free ports, and independent of the environment."""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tertulia.devstack.environment import isolated_environment
from tertulia.devstack.prepare import migrate_and_create_key
from tertulia.devstack.stack import Stack, StackOptions


@asynccontextmanager
async def open_stack(
    data: Path | None = None, *, workers: int = 0, with_api: bool = False, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Stack]:
    """Context manager: Temporal, Postgres and the offline model, each a process on a free port.

    Enter it in the main thread.

    Args:
        data: the data folder, kept at exit; None = a temporary one, removed at exit.
        workers: number of worker processes; `open_workflow_harness` brings a worker of its own.
        with_api: start the REST API too; its key is in the file `api-key` of the data folder.
        settings: environment variables of the programs, such as `TERTULIA_LOG_LEVEL`.

    Raises:
        StackError: a server did not start, or a stack runs on the folder already.
    """
    with tempfile.TemporaryDirectory(prefix="tertulia-") as folder:
        options = StackOptions(
            data=data or Path(folder, "data"),
            temporal_port=0,
            ui_port=None,
            model_port=0,
            api_port=0 if with_api else None,
            workers=workers,
            environment=isolated_environment(**(settings or {})),
        )
        async with Stack(options, prepare=migrate_and_create_key) as stack:
            yield stack

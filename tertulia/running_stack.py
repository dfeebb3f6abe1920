"""The file in which an embedded stack publishes the addresses of its servers, for clients on the same machine."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tertulia.core.errors import ConfigurationError

STACK_FILE = "stack.json"
"""Name of the file in the data folder."""


class RunningStack(BaseModel):
    """Addresses of a running embedded stack. A part that it does not run, because it is configured, is None."""

    model_config = ConfigDict(frozen=True)

    pid: int
    """The process that runs the stack."""
    database_url: str | None = None
    """SQLAlchemy URL of the embedded Postgres."""
    temporal_address: str | None = None
    """`host:port` of the embedded Temporal server."""
    temporal_namespace: str = "default"
    """The namespace of the conversations."""
    temporal_ui_url: str | None = None
    """URL of Temporal's web UI."""
    model_base_url: str | None = None
    """URL of the offline model's OpenAI-compatible endpoint, up to and including `/v1`."""
    api_url: str | None = None
    """URL of the REST API, without a trailing slash."""


class StackFile(BaseModel):
    """The part of the stack file that clients read."""

    running: RunningStack | None = None
    """Present from the moment the servers answer until the stack stops."""


def find_running_stack(folder: Path) -> RunningStack | None:
    """Return the stack that runs on a data folder; None if none runs, also if a killed one left its file behind.

    Raises:
        ConfigurationError: the stack file cannot be read.
    """
    path = folder / STACK_FILE
    try:
        running = StackFile.model_validate_json(path.read_bytes()).running
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise ConfigurationError(f"{path} cannot be read; stop the stack and remove the file") from error
    return running if running and _is_alive(running.pid) else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

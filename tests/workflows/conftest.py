"""Workers in this process, on fresh task queues."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tertulia.activities import failpoints
from tertulia.activities.failpoints import Failpoint
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing import WorkflowHarness, open_workflow_harness


@pytest.fixture
async def harness(stack: Stack, model: OfflineModelControl) -> AsyncIterator[WorkflowHarness]:
    """A worker that caches workflows, and its client."""
    async with open_workflow_harness(stack) as opened:
        yield opened


@pytest.fixture
async def replaying_harness(stack: Stack, model: OfflineModelControl) -> AsyncIterator[WorkflowHarness]:
    """A worker that replays the history before every step, and its client."""
    async with open_workflow_harness(stack, TERTULIA_MAX_CACHED_CONVERSATIONS="0") as opened:
        yield opened


@pytest.fixture
def hold_next_model_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Callable[[], None]]:
    """Return a function that suspends the next model call of a turn, and returns a function that releases it."""
    monkeypatch.setattr(failpoints, "_FOLDER", tmp_path)

    def hold() -> Callable[[], None]:
        (tmp_path / Failpoint.BEFORE_MODEL_CALL).touch()
        return (tmp_path / f"{Failpoint.BEFORE_MODEL_CALL}.hit").unlink

    return hold

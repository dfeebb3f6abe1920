"""Workers on fresh task queues, in this process."""

from collections.abc import AsyncIterator

import pytest

from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tests.harness.workflow_harness import WorkflowHarness, open_workflow_harness


@pytest.fixture
async def harness(stack: Stack, model: OfflineModelControl) -> AsyncIterator[WorkflowHarness]:
    """A client whose worker keeps workflows in memory."""
    async with open_workflow_harness(stack, model) as opened:
        yield opened


@pytest.fixture
async def replaying_harness(stack: Stack, model: OfflineModelControl) -> AsyncIterator[WorkflowHarness]:
    """A client whose worker replays every step from the history."""
    async with open_workflow_harness(stack, model, TERTULIA_MAX_CACHED_CONVERSATIONS="0") as opened:
        yield opened

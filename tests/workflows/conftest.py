"""Workers on fresh task queues, in this process."""

from collections.abc import AsyncIterator

import pytest

from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tests.workflows.salon import Salon, open_salon


@pytest.fixture
async def salon(stack: Stack, model: OfflineModelControl) -> AsyncIterator[Salon]:
    """A client whose worker keeps workflows in memory."""
    async with open_salon(stack, model) as opened:
        yield opened


@pytest.fixture
async def replaying_salon(stack: Stack, model: OfflineModelControl) -> AsyncIterator[Salon]:
    """A client whose worker replays every step from the history."""
    async with open_salon(stack, model, TERTULIA_MAX_CACHED_CONVERSATIONS="0") as opened:
        yield opened

"""Fixtures: activities in Temporal's activity environment, with real Postgres and the offline model."""

from collections.abc import AsyncIterator

import pytest

from tertulia.activities.choose_speaker import SpeakerSelectionActivities
from tertulia.activities.conversation_records import ConversationRecordActivities
from tertulia.activities.provider import ModelProvider
from tertulia.activities.take_turn import TurnActivities
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.store.database import Database
from tertulia.testing import WorkflowHarness, open_workflow_harness
from tests.activities.harness import ActivityHarness


@pytest.fixture
async def harness(stack: Stack, model: OfflineModelControl) -> AsyncIterator[ActivityHarness]:
    """A conversation of Ana, Ben and Cleo with the manager Host and one message."""
    configuration = stack.configuration
    endpoint = configuration.model_endpoint
    provider = ModelProvider(endpoint.base_url, endpoint.api_key, configuration.default_model)
    async with Database(configuration.database_url) as database:
        record_activities = ConversationRecordActivities(database)
        opened = ActivityHarness(
            database,
            record_activities,
            TurnActivities(database, provider),
            SpeakerSelectionActivities(database, provider),
            model,
        )
        await opened.open()
        yield opened
    await provider.close()


@pytest.fixture
async def workflow_harness(stack: Stack, model: OfflineModelControl) -> AsyncIterator[WorkflowHarness]:
    """A client of a running worker."""
    async with open_workflow_harness(stack) as opened:
        yield opened

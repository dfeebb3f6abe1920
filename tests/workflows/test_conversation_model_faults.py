"""A conversation in which the model gives one bad answer after the other goes on, without gaps, its history small."""

from typing import get_args

from tertulia.devstack.offline_model import Fault, FaultKind
from tests.harness.workflow_harness import WorkflowHarness

_OF_MANAGERS = "bad_choice"
_LARGE = 20 * 2**20


async def test_bad_answers_do_not_grow_history(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo", turn_timeout_seconds=1, max_message_chars=2_000)
    kinds = [kind for kind in get_args(FaultKind) if kind != _OF_MANAGERS]
    await harness.model.set_behaviour(*(Fault(kind=kind, times=1, size=_LARGE if kind == "oversize" else None, delay_ms=0)
                               for kind in kinds))  # fmt: skip
    conversation = (await harness.client.conversations.create(group, "One.")).id
    await harness.wait_until_idle(conversation, seconds=60)
    for number in range(2, 7):
        await harness.client.conversations.handle(conversation).post(f"Message {number}.")
        await harness.wait_until_idle(conversation, rounds=number, seconds=60)
    turns = await harness.turns(conversation)
    assert (await harness.model.get_behaviour()).faults == (), "every one has struck"
    assert [turn.outcome for turn in turns[-3:]] == ["spoke"] * 3
    assert all(len(message.text) <= 2_000 for message in await harness.transcript(conversation))
    history = await harness.client.scope.workflow_handle(conversation).fetch_history()
    sizes = [event.ByteSize() for event in history.events]
    assert max(sizes) < 30_000
    assert sum(sizes) < 200_000

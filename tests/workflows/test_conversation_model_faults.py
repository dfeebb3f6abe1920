"""Every kind of bad answer: the conversation continues without gaps, and its history stays small."""

from typing import get_args

from tertulia.devstack.offline_model import Fault, FaultKind
from tertulia.testing import WorkflowHarness

_OF_MANAGERS = "bad_choice"
_LARGE = 20 * 2**20


async def test_bad_answers_do_not_grow_history(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo", turn_timeout_seconds=1, max_message_chars=2_000)
    kinds = [kind for kind in get_args(FaultKind) if kind != _OF_MANAGERS]
    sizes_of_kinds = {"oversize": _LARGE}
    faults = [Fault(kind=kind, times=1, size=sizes_of_kinds.get(kind), delay_ms=0) for kind in kinds]
    await harness.model.set_behaviour(*faults)
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation, seconds=60)
    for number in range(2, 7):
        await harness.handle(conversation).post(f"Message {number}.")
        await harness.wait_until_idle(conversation, rounds=number, seconds=60)
    turns = await harness.turns(conversation)
    assert (await harness.model.get_behaviour()).faults == (), "every fault was used"
    assert [turn.outcome for turn in turns[-3:]] == ["spoke"] * 3
    assert all(len(message.text) <= 2_000 for message in await harness.transcript(conversation))
    history = await harness.client.scope.workflow_handle(conversation).fetch_history()
    sizes = [event.ByteSize() for event in history.events]
    assert max(sizes) < 30_000
    assert sum(sizes) < 200_000

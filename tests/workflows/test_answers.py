"""A conversation in which the model gives one bad answer after the other goes on, without gaps, its history small."""

from typing import get_args

from tertulia.devstack.offline_model import Fault, FaultKind
from tests.workflows.salon import Salon

_OF_MANAGERS = "bad_choice"
_LARGE = 20 * 2**20


async def test_every_kind_of_bad_answer_is_survived_and_none_grows_the_history(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo", turn_timeout_seconds=1, max_message_chars=2_000)
    kinds = [kind for kind in get_args(FaultKind) if kind != _OF_MANAGERS]
    await salon.model.behave(*(Fault(kind=kind, times=1, size=_LARGE if kind == "oversize" else None, delay_ms=0)
                               for kind in kinds))  # fmt: skip
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation, seconds=60)
    for number in range(2, 7):
        await salon.client.conversations.handle(conversation).post(f"Message {number}.")
        await salon.until_idle(conversation, rounds=number, seconds=60)
    turns = await salon.turns(conversation)
    assert (await salon.model.behaviour()).faults == (), "every one has struck"
    assert [turn.outcome for turn in turns[-3:]] == ["spoke"] * 3
    assert all(len(message.text) <= 2_000 for message in await salon.transcript(conversation))
    history = await salon.client.scope.workflow_handle(conversation).fetch_history()
    sizes = [event.ByteSize() for event in history.events]
    assert max(sizes) < 30_000
    assert sum(sizes) < 200_000

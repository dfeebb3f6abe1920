"""Many conversations for a long time, a fault every so often; then every conversation is counted.

Law: what was accepted is there once, in the order of acceptance; numbers have no gaps; sums agree; a worker's memory is
flat once it is warm.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from uuid import uuid4

import psutil
from sqlalchemy import bindparam, func, select

from chaos.company import JOINER, SOAKED
from chaos.faults import FAULTS
from chaos.killable_stack import KillableStack, OutOfPatience, open_killable_stack, persist, until
from tertulia.core.errors import CommandRefused, TertuliaError
from tertulia.core.ids import ConversationId
from tertulia.core.status import ConversationStatus
from tertulia.devstack.offline_model import Fault
from tertulia.store.tables import messages, turns

_SAMPLE_SECONDS = 5.0
_REST_SECONDS = 0.5
_SETTLE_SECONDS = 180
_GROWTH_LIMIT_MB = 15
_GROWTH_LIMIT = 0.10
_KILLS_EVERY_WORKER = "all workers killed"
_FAILING = Fault(kind="server_error")
_SPENT = select(func.coalesce(func.sum(turns.c.prompt_tokens + turns.c.completion_tokens), 0)).where(
    turns.c.conversation_id == bindparam("id")
)
_SPARED = 1
"""The number of the worker that is never killed: its memory is what is watched."""


@dataclass(frozen=True)
class Plan:
    """What to do."""

    minutes: float
    conversations: int
    every: float
    seed: int

    @property
    def faults(self) -> int:
        return max(int(self.minutes * 60 / self.every), 1)


@dataclass
class Talk:
    """One conversation, and what was accepted by it."""

    id: ConversationId
    accepted: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """What came of it."""

    plan: Plan
    faults: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    messages: int = 0
    turns: int = 0
    failed_turns: int = 0
    memory_mb: list[float] = field(default_factory=list)
    """Of the worker that was never killed, every few seconds."""

    def lines(self) -> list[str]:
        """For a reader."""
        _, _, early, _, late = fifths = self.memory()
        plan = self.plan
        return [
            f"- {plan.conversations} conversations for {plan.minutes:g} minutes, a fault every {plan.every:g} s "
            f"(seed {plan.seed}): {len(self.faults)} faults.",
            f"- {self.messages} messages in {self.turns} turns, {self.failed_turns} of which failed and say why.",
            f"- Gaps, doubles, losses, sums that do not agree: {len(self.wrong)}.",
            f"- Memory of a worker that was never killed: {early:.0f} MB after warm-up, {late:.0f} MB at the end "
            f"(medians of fifths of the time: {', '.join(f'{one:.0f}' for one in fifths)}).",
            *(f"- WRONG: {one}" for one in self.wrong[:20]),
        ]

    def memory(self) -> list[float]:
        """The medians of the five fifths of the samples."""
        size = max(len(self.memory_mb) // 5, 1)
        return [median(self.memory_mb[start : start + size] or [0.0]) for start in range(0, 5 * size, size)]


async def soak(plan: Plan, tell: Callable[[str], None]) -> Outcome:
    """Do it, and count."""
    outcome = Outcome(plan)
    talks = [Talk(ConversationId(f"soak-{uuid4()}")) for _ in range(plan.conversations)]
    # A cache that is full after the warm-up: what grows from then on would grow for ever.
    async with open_killable_stack(
        workers=2, TERTULIA_MAX_CACHED_CONVERSATIONS=str(2 * plan.conversations)
    ) as killable:
        over = asyncio.Event()
        talking = [asyncio.create_task(_watched_talk(killable, talk, over)) for talk in talks]
        watching = asyncio.create_task(_watch_memory(killable, outcome, over))
        await _trouble(killable, plan, outcome, tell)
        over.set()
        await killable.settle()
        for talk, result in zip(talks, await asyncio.gather(*talking, return_exceptions=True), strict=True):
            if isinstance(result, BaseException):
                outcome.wrong.append(f"{talk.id}: {type(result).__name__}: {result}")
        await watching
        for talk in talks:
            await _count(killable, talk, outcome)
    _, _, early, _, late = outcome.memory()
    if plan.minutes >= 5 and late - early > max(_GROWTH_LIMIT_MB, early * _GROWTH_LIMIT):
        outcome.wrong.append(f"a worker's memory grows: {early:.0f} MB, then {late:.0f} MB")
    return outcome


async def _trouble(killable: KillableStack, plan: Plan, outcome: Outcome, tell: Callable[[str], None]) -> None:
    dice = random.Random(plan.seed)
    names = [name for name in FAULTS if name not in (_KILLS_EVERY_WORKER, "one of two workers killed")]
    names += ["a worker killed", "the model fails for 5 s"]
    began = monotonic()
    for number in range(plan.faults):
        await asyncio.sleep(max(began + (number + 1) * plan.every - monotonic(), 0))
        name = dice.choice(names)
        outcome.faults.append(name)
        tell(f"{number + 1} of {plan.faults}: {name}")
        await _strike(killable, name)


async def _strike(killable: KillableStack, name: str) -> None:
    if name == "a worker killed":
        await killable.kill(f"worker-{_SPARED + 1}")
    elif name == "the model fails for 5 s":
        await persist(lambda: killable.model.behave(_FAILING))
        await asyncio.sleep(5)
        await persist(killable.model.reset)
    else:
        await persist(lambda: FAULTS[name](killable, ConversationId("")))


async def _watched_talk(killable: KillableStack, talk: Talk, over: asyncio.Event) -> None:
    """As `_talk`; one that comes to a stand is looked at while it does."""
    try:
        await _talk(killable, talk, over)
    except (OutOfPatience, TertuliaError) as error:
        described = (await persist(killable.client.scope.workflow_handle(talk.id).describe)).raw_description
        pending = [described.pending_workflow_task, *described.pending_activities]
        stand = "; ".join(" ".join(str(one).split()) for one in pending)
        raise OutOfPatience(
            f"after {len(talk.accepted)} messages: {str(error)[:300]}; pending: {stand[:1500]}"
        ) from None


async def _talk(killable: KillableStack, talk: Talk, over: asyncio.Event) -> None:
    """Say something whenever the round is over; now and then somebody joins or leaves."""
    client = killable.client
    first = f"{talk.id}:start"
    await persist(lambda: client.conversations.create(SOAKED, f"What of {first}?", id=talk.id))
    talk.accepted.append(first)
    number = 0
    while not over.is_set():
        status = await until(
            lambda: client.conversations.handle(talk.id).status(live=True), _is_resting, _SETTLE_SECONDS
        )
        number += 1
        await _say(killable, talk, f"message-{number}")
        if number % 3 == 0:
            await _change_members(killable, talk, status, number)
        await asyncio.sleep(_REST_SECONDS)
    await until(lambda: client.conversations.handle(talk.id).status(live=True), _is_resting, _SETTLE_SECONDS)
    await persist(lambda: client.conversations.handle(talk.id).stop(command_id="end"))
    await until(
        lambda: client.conversations.handle(talk.id).status(live=True),
        lambda status: status.phase == "closed",
        _SETTLE_SECONDS,
    )


async def _say(killable: KillableStack, talk: Talk, message: str) -> None:
    with suppress(CommandRefused):
        await persist(lambda: killable.client.conversations.handle(talk.id).post(f"And {message}?", message_id=message))
        talk.accepted.append(message)


async def _change_members(killable: KillableStack, talk: Talk, status: ConversationStatus, number: int) -> None:
    here = JOINER in {member.name for member in status.roster.members}
    members = killable.client.conversations.handle(talk.id).members
    change = members.remove if here else members.add
    with suppress(CommandRefused):
        await persist(lambda: change(JOINER, command_id=f"change-{number}"))


def _is_resting(status: ConversationStatus) -> bool:
    return status.phase == "ready" and status.stop_reason is not None and not status.pending.messages


async def _watch_memory(killable: KillableStack, outcome: Outcome, over: asyncio.Event) -> None:
    pid = killable.stack.worker_pids[_SPARED - 1]
    while not over.is_set():
        outcome.memory_mb.append(psutil.Process(pid).memory_info().rss / 2**20)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(over.wait(), _SAMPLE_SECONDS)


async def _count(killable: KillableStack, talk: Talk, outcome: Outcome) -> None:
    client = killable.client
    try:
        status = await persist(lambda: client.conversations.handle(talk.id).status(live=True))
        said = [message async for message in client.conversations.handle(talk.id).transcript()]
        taken = [turn async for turn in client.conversations.handle(talk.id).turns()]
        rows = await client.scope.database.rows(
            select(messages.c.message_id)
            .where(messages.c.conversation_id == talk.id, messages.c.message_id.is_not(None))
            .order_by(messages.c.seq)
        )
        tokens = await client.scope.database.row(_SPENT, {"id": talk.id})
    except (OutOfPatience, TertuliaError) as error:
        outcome.wrong.append(f"{talk.id}: {error}")
        return
    outcome.messages += len(said)
    outcome.turns += len(taken)
    outcome.failed_turns += sum(turn.outcome == "failed" for turn in taken)
    spent = int(tokens[0]) if tokens else 0
    found = [message.seq for message in said], [turn.turn for turn in taken]
    outcome.wrong.extend(f"{talk.id}: {line}" for line in _faults(talk, status, found, [r[0] for r in rows], spent))


def _faults(
    talk: Talk, status: ConversationStatus, found: tuple[list[int], list[int]], posted: Sequence[str], spent: int
) -> Iterator[str]:
    """What does not agree."""
    for what, numbers in zip(("message", "turn"), found, strict=True):
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{what} numbers have a gap or a double"
    if list(posted) != talk.accepted:
        yield f"{len(talk.accepted)} messages were accepted, {len(posted)} are there, or in another order"
    if status.messages != len(found[0]):
        yield f"status counts {status.messages} messages, the transcript has {len(found[0])}"
    if status.usage.total_tokens != spent:
        yield f"status counts {status.usage.total_tokens} tokens, the records {spent}"

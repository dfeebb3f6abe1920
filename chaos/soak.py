"""Many conversations for a long time, with a fault at intervals; then every conversation is checked.
Invariant: each accepted message is there once, in the order of acceptance; numbers have no gaps; sums agree; a worker's
memory is constant once it is warm.
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

from chaos.faults import FAULTS
from chaos.killable_stack import KillableStack, open_killable_stack, retry_while_unavailable, wait_until
from chaos.sample_groups import JOINER, SOAK_GROUP
from tertulia.core.errors import CommandRefused, TertuliaError
from tertulia.core.ids import ConversationId
from tertulia.core.status import ConversationStatus
from tertulia.devstack.offline_model import Fault
from tertulia.store.tables import messages, turns

_SAMPLE_SECONDS = 5.0
_IDLE_SECONDS = 0.5
_SETTLE_SECONDS = 180
_GROWTH_LIMIT_MB = 15
_GROWTH_LIMIT = 0.10
_KILL_ALL_WORKERS = "all workers killed"
_SERVER_ERROR = Fault(kind="server_error")
_TOKENS_USED = select(func.coalesce(func.sum(turns.c.prompt_tokens + turns.c.completion_tokens), 0)).where(
    turns.c.conversation_id == bindparam("id")
)
_MONITORED_WORKER = 1
"""Number of the worker that is never killed: its memory is monitored."""


@dataclass(frozen=True)
class SoakPlan:
    """The plan of a soak."""

    minutes: float
    conversations: int
    every: float
    seed: int

    @property
    def faults(self) -> int:
        return max(int(self.minutes * 60 / self.every), 1)


@dataclass
class SoakConversation:
    """One conversation, and the messages it has accepted."""

    id: ConversationId
    accepted: list[str] = field(default_factory=list)


@dataclass
class SoakResult:
    """The results."""

    plan: SoakPlan
    faults: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    messages: int = 0
    turns: int = 0
    failed_turns: int = 0
    memory_mb: list[float] = field(default_factory=list)
    """Memory of the worker that was never killed, every few seconds."""

    def lines(self) -> list[str]:
        """Return lines for people."""
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
        """Return the medians of the five fifths of the samples."""
        size = max(len(self.memory_mb) // 5, 1)
        return [median(self.memory_mb[start : start + size] or [0.0]) for start in range(0, 5 * size, size)]


async def soak(plan: SoakPlan, report_progress: Callable[[str], None]) -> SoakResult:
    """Run the soak, and check every conversation."""
    outcome = SoakResult(plan)
    conversations = [SoakConversation(ConversationId(f"soak-{uuid4()}")) for _ in range(plan.conversations)]
    # A cache that is full after the warm-up: what grows from then on would grow for ever.
    async with open_killable_stack(
        workers=2, TERTULIA_MAX_CACHED_CONVERSATIONS=str(2 * plan.conversations)
    ) as killable:
        finished = asyncio.Event()
        conversation_tasks = [
            asyncio.create_task(_run_conversation_with_diagnostics(killable, conversation, finished))
            for conversation in conversations
        ]
        memory_task = asyncio.create_task(_watch_memory(killable, outcome, finished))
        await _inject_faults(killable, plan, outcome, report_progress)
        finished.set()
        await killable.restore()
        for conversation, result in zip(
            conversations, await asyncio.gather(*conversation_tasks, return_exceptions=True), strict=True
        ):
            if isinstance(result, BaseException):
                outcome.wrong.append(f"{conversation.id}: {type(result).__name__}: {result}")
        await memory_task
        for conversation in conversations:
            await _verify_conversation(killable, conversation, outcome)
    _, _, early, _, late = outcome.memory()
    if plan.minutes >= 5 and late - early > max(_GROWTH_LIMIT_MB, early * _GROWTH_LIMIT):
        outcome.wrong.append(f"a worker's memory grows: {early:.0f} MB, then {late:.0f} MB")
    return outcome


async def _inject_faults(
    killable: KillableStack, plan: SoakPlan, outcome: SoakResult, report_progress: Callable[[str], None]
) -> None:
    rng = random.Random(plan.seed)
    names = [name for name in FAULTS if name not in (_KILL_ALL_WORKERS, "one of two workers killed")]
    names += ["a worker killed", "the model fails for 5 s"]
    started_at = monotonic()
    for number in range(plan.faults):
        await asyncio.sleep(max(started_at + (number + 1) * plan.every - monotonic(), 0))
        name = rng.choice(names)
        outcome.faults.append(name)
        report_progress(f"{number + 1} of {plan.faults}: {name}")
        await _inject_fault(killable, name)


async def _inject_fault(killable: KillableStack, name: str) -> None:
    if name == "a worker killed":
        await killable.kill(f"worker-{_MONITORED_WORKER + 1}")
    elif name == "the model fails for 5 s":
        await retry_while_unavailable(lambda: killable.model.set_behaviour(_SERVER_ERROR))
        await asyncio.sleep(5)
        await retry_while_unavailable(killable.model.reset)
    else:
        await retry_while_unavailable(lambda: FAULTS[name](killable, ConversationId("")))


async def _run_conversation_with_diagnostics(
    killable: KillableStack, conversation: SoakConversation, finished: asyncio.Event
) -> None:
    """Run `_run_conversation`; a conversation that stalls is inspected while it does."""
    try:
        await _run_conversation(killable, conversation, finished)
    except (AssertionError, TertuliaError) as error:
        described = (
            await retry_while_unavailable(killable.client.scope.workflow_handle(conversation.id).describe)
        ).raw_description
        pending = [described.pending_workflow_task, *described.pending_activities]
        pending_text = "; ".join(" ".join(str(one).split()) for one in pending)
        raise AssertionError(
            f"after {len(conversation.accepted)} messages: {str(error)[:300]}; pending: {pending_text[:1500]}"
        ) from None


async def _run_conversation(killable: KillableStack, conversation: SoakConversation, finished: asyncio.Event) -> None:
    """Post a message whenever the round has ended; sometimes add or remove a member."""
    client = killable.client
    first = f"{conversation.id}:start"
    await retry_while_unavailable(
        lambda: client.conversations.create(SOAK_GROUP, f"What of {first}?", id=conversation.id)
    )
    conversation.accepted.append(first)
    number = 0
    while not finished.is_set():
        status = await wait_until(
            lambda: client.conversations.handle(conversation.id).status(live=True), _is_idle, _SETTLE_SECONDS
        )
        number += 1
        await _post_message(killable, conversation, f"message-{number}")
        if number % 3 == 0:
            await _change_members(killable, conversation, status, number)
        await asyncio.sleep(_IDLE_SECONDS)
    await wait_until(lambda: client.conversations.handle(conversation.id).status(live=True), _is_idle, _SETTLE_SECONDS)
    await retry_while_unavailable(lambda: client.conversations.handle(conversation.id).stop(command_id="end"))
    await wait_until(
        lambda: client.conversations.handle(conversation.id).status(live=True),
        lambda status: status.phase == "closed",
        _SETTLE_SECONDS,
    )


async def _post_message(killable: KillableStack, conversation: SoakConversation, message: str) -> None:
    with suppress(CommandRefused):
        await retry_while_unavailable(
            lambda: killable.client.conversations.handle(conversation.id).post(f"And {message}?", message_id=message)
        )
        conversation.accepted.append(message)


async def _change_members(
    killable: KillableStack, conversation: SoakConversation, status: ConversationStatus, number: int
) -> None:
    is_member = JOINER in {member.name for member in status.roster.members}
    members = killable.client.conversations.handle(conversation.id).members
    change = members.remove if is_member else members.add
    with suppress(CommandRefused):
        await retry_while_unavailable(lambda: change(JOINER, command_id=f"change-{number}"))


def _is_idle(status: ConversationStatus) -> bool:
    return status.phase == "ready" and status.stop_reason is not None and not status.pending.messages


async def _watch_memory(killable: KillableStack, outcome: SoakResult, finished: asyncio.Event) -> None:
    pid = killable.stack.worker_pids[_MONITORED_WORKER - 1]
    while not finished.is_set():
        outcome.memory_mb.append(psutil.Process(pid).memory_info().rss / 2**20)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(finished.wait(), _SAMPLE_SECONDS)


async def _verify_conversation(killable: KillableStack, conversation: SoakConversation, outcome: SoakResult) -> None:
    client = killable.client
    try:
        status = await retry_while_unavailable(lambda: client.conversations.handle(conversation.id).status(live=True))
        said = [message async for message in client.conversations.handle(conversation.id).transcript()]
        taken = [turn async for turn in client.conversations.handle(conversation.id).turns()]
        rows = await client.scope.database.rows(
            select(messages.c.message_id)
            .where(messages.c.conversation_id == conversation.id, messages.c.message_id.is_not(None))
            .order_by(messages.c.seq)
        )
        tokens = await client.scope.database.row(_TOKENS_USED, {"id": conversation.id})
    except (AssertionError, TertuliaError) as error:
        outcome.wrong.append(f"{conversation.id}: {error}")
        return
    outcome.messages += len(said)
    outcome.turns += len(taken)
    outcome.failed_turns += sum(turn.outcome == "failed" for turn in taken)
    tokens_used = int(tokens[0]) if tokens else 0
    found = [message.seq for message in said], [turn.turn for turn in taken]
    outcome.wrong.extend(
        f"{conversation.id}: {line}"
        for line in _find_errors(conversation, status, found, [r[0] for r in rows], tokens_used)
    )


def _find_errors(
    conversation: SoakConversation,
    status: ConversationStatus,
    found: tuple[list[int], list[int]],
    posted: Sequence[str],
    tokens_used: int,
) -> Iterator[str]:
    """Return the errors of a conversation."""
    for what, numbers in zip(("message", "turn"), found, strict=True):
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{what} numbers have a gap or a double"
    if list(posted) != conversation.accepted:
        yield f"{len(conversation.accepted)} messages were accepted, {len(posted)} are there, or in another order"
    if status.messages != len(found[0]):
        yield f"status counts {status.messages} messages, the transcript has {len(found[0])}"
    if status.usage.total_tokens != tokens_used:
        yield f"status counts {status.usage.total_tokens} tokens, the records {tokens_used}"

"""The chaos matrix: every fault at every injection point, with the result, repeated calls and recovery time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import uuid4

from sqlalchemy import func, select

from chaos.faults import FAULTS
from chaos.injection_points import INJECTION_POINTS, TRANSIENT_POINTS
from chaos.killable_stack import KillableStack, retry_while_unavailable, wait_until
from chaos.record import ConversationRecord, find_differences, read_record
from chaos.scenario import FaultInjection, run_scenario
from tertulia.core.ids import ConversationId
from tertulia.store.tables import conversations, membership_changes, selections

_TIMEOUT_SECONDS = 60
_FAULT_DELAY_SECONDS = 0.1
"""Time that a step has run when the fault is injected."""


@dataclass
class Cell:
    """One fault at one injection point."""

    fault: str
    moment: str
    wrong: list[str] = field(default_factory=list)
    """The losses, duplicates, changes and delays that were found."""
    repeated_calls: int = 0
    recovery_seconds: float | None = None
    """From the fault to the next step that the database shows: a selection, turn, message, change or the end."""

    @property
    def passed(self) -> bool:
        return not self.wrong


@dataclass(frozen=True)
class Baseline:
    """The undisturbed run that all others are compared with."""

    record: ConversationRecord
    calls: int


async def run_baseline(killable: KillableStack) -> Baseline:
    """Run the scenario without a fault."""
    conversation = _new_id()
    await killable.restore()
    await killable.model.clear_calls()
    await run_scenario(killable, conversation, None)
    return Baseline(await read_record(killable.client, conversation), (await killable.model.calls()).total)


async def run_cells(
    killable: KillableStack, cells: Sequence[tuple[str, str]], baseline: Baseline
) -> AsyncIterator[Cell]:
    """Run the cells one after the other; the stack is restored in between."""
    for fault, moment in cells:
        yield await _run(killable, Cell(fault, moment), baseline)
        await killable.restore()


async def _run(killable: KillableStack, cell: Cell, baseline: Baseline) -> Cell:
    conversation = _new_id()
    trial = _Trial(killable, cell)
    await killable.model.clear_calls()
    try:
        await run_scenario(killable, conversation, trial.injection)
        found = await retry_while_unavailable(lambda: read_record(killable.client, conversation))
        cell.wrong.extend(find_differences(found, baseline.record))
        calls = trial.calls_before + (await retry_while_unavailable(killable.model.calls)).total
        cell.repeated_calls = calls - baseline.calls
        if cell.recovery_seconds is None:
            cell.wrong.append("the moment was never reached")
    except Exception as error:  # whatever it is, the next cell has its turn
        cell.wrong.append(f"{type(error).__name__}: {error}")
    return cell


class _Trial:
    """The fault of one cell, and the time since."""

    def __init__(self, killable: KillableStack, cell: Cell) -> None:
        self._killable = killable
        self._cell = cell
        self._injection_point = INJECTION_POINTS[cell.moment]
        self.calls_before = 0
        """Calls that a killed model can no longer count."""
        self.injection = FaultInjection(self._injection_point.step, self._prepare, self._inject)

    async def _prepare(self) -> None:
        await self._injection_point.prepare(self._killable)

    async def _inject(self, conversation: ConversationId) -> None:
        killable, cell = self._killable, self._cell
        await self._injection_point.wait(killable, conversation)
        if cell.moment not in TRANSIENT_POINTS:
            await asyncio.sleep(_FAULT_DELAY_SECONDS)
        before = await retry_while_unavailable(lambda: read_progress(killable, conversation))
        if cell.fault == "model killed":
            self.calls_before = (await killable.model.calls()).total
        started_at = monotonic()
        await FAULTS[cell.fault](killable, conversation)
        killable.release()
        await wait_until(lambda: read_progress(killable, conversation), lambda now: now != before, _TIMEOUT_SECONDS)
        cell.recovery_seconds = monotonic() - started_at


async def read_progress(killable: KillableStack, conversation: ConversationId) -> tuple[object, ...]:
    """Return a value that changes with every step of a conversation."""
    table = conversations
    own = table.c.id == conversation
    choices = select(func.count()).where(selections.c.conversation_id == conversation).scalar_subquery()
    changes = select(func.count()).where(membership_changes.c.conversation_id == conversation).scalar_subquery()
    row = await killable.client.scope.database.row(
        select(table.c.last_turn, table.c.last_seq, table.c.closed_at, choices, changes).where(own)
    )
    return tuple(row) if row else ()


def _new_id() -> ConversationId:
    return ConversationId(f"chaos-{uuid4()}")

"""Every fault at every moment: what came of the conversation, how many calls were repeated, how long recovery took."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import uuid4

from sqlalchemy import func, select

from chaos.faults import FAULTS
from chaos.killable_stack import KillableStack, persist, until
from chaos.moments import MOMENTS, PASSING
from chaos.play import Disturbance, perform
from chaos.record import Record, faults_of, recorded
from tertulia.core.ids import ConversationId
from tertulia.store.tables import conversations, membership_changes, selections

_PATIENCE_SECONDS = 60
_HELD_SECONDS = 0.1
"""How long a step has been at work when the fault strikes."""


@dataclass
class Cell:
    """One fault at one moment."""

    fault: str
    moment: str
    wrong: list[str] = field(default_factory=list)
    """What was lost, doubled or altered, or did not happen in time."""
    repeated_calls: int = 0
    recovery_seconds: float | None = None
    """From the fault until the next step that the database shows: a choice, a turn, a message, a change, the end."""

    @property
    def green(self) -> bool:
        return not self.wrong


@dataclass(frozen=True)
class Undisturbed:
    """The run that all others are compared with."""

    record: Record
    calls: int


async def run_undisturbed(killable: KillableStack) -> Undisturbed:
    """Play it without a fault."""
    conversation = _new_id()
    await killable.settle()
    await killable.model.zero()
    await perform(killable, conversation, None)
    return Undisturbed(await recorded(killable.client, conversation), (await killable.model.calls()).total)


async def run_cells(
    killable: KillableStack, cells: Sequence[tuple[str, str]], undisturbed: Undisturbed
) -> AsyncIterator[Cell]:
    """Play each, one after the other; what one does to the house is made good before the next."""
    for fault, moment in cells:
        yield await _run(killable, Cell(fault, moment), undisturbed)
        await killable.settle()


async def _run(killable: KillableStack, cell: Cell, undisturbed: Undisturbed) -> Cell:
    conversation = _new_id()
    trial = _Trial(killable, cell)
    await killable.model.zero()
    try:
        await perform(killable, conversation, trial.disturbance)
        found = await persist(lambda: recorded(killable.client, conversation))
        cell.wrong.extend(faults_of(found, undisturbed.record))
        calls = trial.calls_before + (await persist(killable.model.calls)).total
        cell.repeated_calls = calls - undisturbed.calls
        if cell.recovery_seconds is None:
            cell.wrong.append("the moment was never reached")
    except Exception as error:  # whatever it is, the next cell has its turn
        cell.wrong.append(f"{type(error).__name__}: {error}")
    return cell


class _Trial:
    """The fault of one cell, and the clock that runs from it."""

    def __init__(self, killable: KillableStack, cell: Cell) -> None:
        self._house = killable
        self._cell = cell
        self._moment = MOMENTS[cell.moment]
        self.calls_before = 0
        """Calls that a killed model can no longer count."""
        self.disturbance = Disturbance(self._moment.scene, self._prepare, self._disturb)

    async def _prepare(self) -> None:
        await self._moment.prepare(self._house)

    async def _disturb(self, conversation: ConversationId) -> None:
        killable, cell = self._house, self._cell
        await self._moment.reach(killable, conversation)
        if cell.moment not in PASSING:
            await asyncio.sleep(_HELD_SECONDS)
        before = await persist(lambda: progress_of(killable, conversation))
        if cell.fault == "model killed":
            self.calls_before = (await killable.model.calls()).total
        began = monotonic()
        await FAULTS[cell.fault](killable, conversation)
        killable.release()
        await until(lambda: progress_of(killable, conversation), lambda now: now != before, _PATIENCE_SECONDS)
        cell.recovery_seconds = monotonic() - began


async def progress_of(killable: KillableStack, conversation: ConversationId) -> tuple[object, ...]:
    """Changes with every step that a conversation takes."""
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

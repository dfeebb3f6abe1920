"""Temporal's history of a conversation: events and bytes per turn, over all runs of its workflow."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from tertulia.core.activity_contracts import ActivityName
from tertulia.testing import DirectClient


@dataclass(frozen=True)
class TurnHistory:
    """The part of one turn: from the end of the previous turn's activity to the end of its own."""

    events: int
    size: int
    """Bytes."""


@dataclass(frozen=True)
class ConversationHistory:
    """The history of a chain of runs, each continuing the one before."""

    runs: int
    events: int
    size: int
    """Bytes."""
    turns: tuple[TurnHistory, ...]

    def events_per_turn(self, first: int, last: int) -> float:
        """Return the mean over the turns `first` to `last`."""
        return fmean(turn.events for turn in self.turns[first - 1 : last])

    def bytes_per_turn(self, first: int, last: int) -> float:
        """Return the mean over the turns `first` to `last`."""
        return fmean(turn.size for turn in self.turns[first - 1 : last])


async def read_history(client: DirectClient, conversation_id: str) -> ConversationHistory:
    """Fetch and count every event."""
    chain = await _fetch_chain(client, conversation_id)
    sizes = [event.ByteSize() for run in chain for event in run]
    return ConversationHistory(len(chain), len(sizes), sum(sizes), tuple(_split_turns(chain)))


def _split_turns(chain: list[list[HistoryEvent]]) -> Iterator[TurnHistory]:
    events = size = 0
    for run in chain:
        # The event that tells of the end names only the event that tells of the start, by its number within the run.
        started = {event.event_id for event in run if _is_turn_start(event)}
        for event in run:
            events, size = events + 1, size + event.ByteSize()
            if event.activity_task_completed_event_attributes.scheduled_event_id in started:
                yield TurnHistory(events, size)
                events = size = 0


async def _fetch_chain(client: DirectClient, conversation_id: str) -> list[list[HistoryEvent]]:
    chain: list[list[HistoryEvent]] = []
    run_id: str | None = None
    while run_id != "":
        handle = client.scope.temporal.get_workflow_handle(conversation_id, run_id=run_id)
        events = [event async for event in handle.fetch_history_events()]
        chain.insert(0, events)
        run_id = events[0].workflow_execution_started_event_attributes.continued_execution_run_id
    return chain


def _is_turn_start(event: HistoryEvent) -> bool:
    if event.event_type != EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
        return False
    return event.activity_task_scheduled_event_attributes.activity_type.name == ActivityName.TAKE_TURN

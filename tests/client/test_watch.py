"""Watching yields each event once and in order, and only statuses that match the events, through any outage."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from tertulia.client import watch as watch_module
from tertulia.client.conversation import Conversation
from tertulia.client.timeline import (
    MessageAdded,
    PhaseNotice,
    RosterChanged,
    TextDelta,
    Timeline,
    TurnStarted,
    TurnWithoutMessage,
)
from tertulia.client.watch import NO_WORKER, StatusSeen, Waiting, WatchItem, watch
from tertulia.core.errors import EventsUnavailable, Unavailable
from tertulia.core.ids import AgentId, ConversationId, GroupId
from tertulia.core.phases import PublicPhase
from tertulia.core.records import (
    NO_DATABASE,
    ConversationEvent,
    EventKind,
    FinishedTurn,
    Interrupted,
    LiveDelta,
    MembershipChange,
    StatusAt,
    StreamEvent,
)
from tertulia.core.state import Phase
from tertulia.core.status import ConversationStatus, PendingStatus, RosterStatus, UsageStatus, is_round_over
from tertulia.starter.cli.live_view import LiveText

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int, kind: EventKind, /, **data: Any) -> ConversationEvent:
    return ConversationEvent(number=number, kind=kind, created_at=NOW, data=data)


def message(number: int, seq: int, turn: int | None = None, **data: Any) -> ConversationEvent:
    values = {"seq": seq, "turn": turn, "sender_id": None, "sender": "A", "text": f"{seq}", "created_at": str(NOW)}
    circumstances = {"chosen_by": "manager", "reason": "why not", "attempt": 2, "error": None} if turn else {}
    role = "assistant" if turn else "user"
    return event(number, "message", role=role, **{**values, **circumstances, **data})


def phase(number: int, name: PublicPhase, reason: str = "", explanation: str = "", round: int = 1) -> ConversationEvent:
    return event(number, "phase", phase=name, round=round, reason=reason, explanation=explanation)


def finished_turn(turn: int, seq: int, outcome: Any) -> FinishedTurn:
    return FinishedTurn(
        turn=turn,
        round=1,
        epoch=1,
        speaker_id=AgentId("a"),
        speaker="A",
        chosen_by="manager",
        reason="why not",
        outcome=outcome,
        seq=seq,
        attempt=1,
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=1),
    )


def status(phase: Phase = "ready", **changes: Any) -> ConversationStatus:
    values: dict[str, Any] = {
        "conversation_id": ConversationId("c"),
        "group_id": GroupId("g"),
        "phase": phase,
        "round": 1,
        "turn": 3,
        "roster": RosterStatus(epoch=1, members=()),
        "last_speaker": None,
        "usage": UsageStatus(prompt_tokens=0, completion_tokens=0, total_tokens=0, model_calls=0),
        "stop_reason": None,
        "pending": PendingStatus(messages=0, commands=0),
        "rejected": (),
        "group": "G",
    }
    return ConversationStatus(**values | changes)


@dataclass
class FakeClient:
    """As much of a conversation as `watch` uses."""

    incoming: list[StreamEvent] = field(default_factory=list)
    """The events, in order."""
    answers: list[ConversationStatus | Exception | None] = field(default_factory=list)
    """The statuses, in order, the last one repeated; None = no answer."""
    delay_seconds: float = 0
    """Seconds between two events."""
    ends: bool = False
    """True if the stream of events ends."""
    queries: int = 0
    delivered: int = 0
    """Number of events delivered."""

    async def events(self, *, after: int, deltas: bool) -> AsyncGenerator[StreamEvent, None]:
        for one in self.incoming:
            await asyncio.sleep(self.delay_seconds)
            self.delivered += 1
            yield one
        if not self.ends:
            await asyncio.Event().wait()

    async def status_at(self) -> StatusAt:
        """Return a status at the last event of `incoming`, whether or not it has been yielded."""
        self.queries += 1
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status is None:
            await asyncio.sleep(60)
        if isinstance(status, Exception):
            raise status
        assert status is not None
        return StatusAt(
            status, max((one.number for one in self.incoming if isinstance(one, ConversationEvent)), default=0)
        )


class BusyClient(FakeClient):
    """A client whose first answer is outdated: one more event has followed."""

    async def status_at(self) -> StatusAt:
        answer = await super().status_at()
        return StatusAt(answer.status, self.delivered if self.queries > 1 else self.delivered + 1)


class SlowClient(FakeClient):
    """A client whose first answer arrives after all events."""

    async def status_at(self) -> StatusAt:
        answer = await super().status_at()
        if self.queries == 1:
            await asyncio.sleep(0.3)
        return answer


async def collect_items(client: FakeClient, count: int, patch: pytest.MonkeyPatch, **seconds: float) -> list[WatchItem]:
    for name, value in seconds.items():
        patch.setattr(watch_module, name, value)
    items: list[WatchItem] = []
    async with asyncio.timeout(20):
        async for item in watch(cast(Conversation, client), 0):
            items.append(item)
            if len(items) == count:
                break
    return items


def types_of(items: Sequence[WatchItem]) -> list[type]:
    return [type(item) for item in items]


def test_timeline_maps_each_event() -> None:
    changed = {"epoch": 2, "command_id": "c", "kind": "mute", "detail": {}, "after_turn": 1, "after_seq": 2}
    timeline = Timeline()
    delivered = [
        timeline.item_of(one)
        for one in (
            message(1, 1),
            event(2, "speaker_chosen", turn=1, round=1, speaker="A", reason="why not"),
            event(3, "turn_started", turn=1, round=1, speaker="A", speaker_id="a"),
            message(4, 2, 1),
            event(5, "turn_passed", **finished_turn(2, 2, "passed").model_dump(mode="json")),
            event(6, "selection_failed", turn=3, round=1, manager_id="m", reason="none"),
            event(7, "membership", **changed, created_at=str(NOW)),
        )
    ]
    assert [type(one) for one in delivered] == [
        MessageAdded,
        type(None),
        TurnStarted,
        MessageAdded,
        TurnWithoutMessage,
        type(None),
        RosterChanged,
    ]
    outside, _, started, added, silent, _, change = delivered
    assert isinstance(outside, MessageAdded) and outside.turn is None
    assert started == TurnStarted(1, "A")
    assert isinstance(added, MessageAdded) and added.turn and (added.turn.reason, added.turn.attempt) == ("why not", 2)
    assert isinstance(silent, TurnWithoutMessage) and silent.turn == finished_turn(2, 2, "passed")
    assert isinstance(change, RosterChanged) and change.change == MembershipChange(**changed, created_at=NOW)


def test_timeline_reports_phases_once() -> None:
    timeline = Timeline()
    seen = [
        phase(1, "executing"),
        phase(2, "ready", "max_turns", "6 of at most 6"),
        phase(3, "executing", round=2),
        phase(4, "paused", "lunch"),
        phase(5, "executing", "resumed"),
        phase(6, "paused", "no_available_participants"),
        phase(7, "ready", "resumed"),
        phase(8, "paused"),
        phase(9, "closed", "operator_stop", "enough"),
    ]
    delivered = [news for one in seen if (news := timeline.item_of(one))]
    assert [(one.kind, one.reason) for one in delivered if isinstance(one, PhaseNotice)] == [
        ("round_ended", "max_turns"),
        ("paused", "lunch"),
        ("resumed", ""),
        ("paused", "no member can speak"),
        ("resumed", ""),
        ("paused", "an operator paused it"),
        ("closed", "operator_stop"),
    ]


def test_timeline_reports_end_of_first_pause() -> None:
    delivered = Timeline().item_of(phase(5, "executing", "resumed"))
    assert isinstance(delivered, PhaseNotice) and delivered.kind == "resumed"


async def test_silent_worker_is_reported_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = FakeClient([message(1, 1), message(2, 2, 1), message(3, 3, 2)], [None], delay_seconds=0.2)
    items = await collect_items(client, 4, monkeypatch, ANSWER_TIMEOUT_SECONDS=0.05)
    assert types_of(items) == [Waiting, MessageAdded, MessageAdded, MessageAdded]
    assert items[0] == Waiting(NO_WORKER)


async def test_worker_wait_is_not_reported_in_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient([Interrupted("away"), message(1, 1)], [None], delay_seconds=0.3)
    items = await collect_items(client, 3, monkeypatch, ANSWER_TIMEOUT_SECONDS=0.4)
    assert items[0] == Waiting("away")
    assert types_of(items[1:]) == [MessageAdded, Waiting]
    assert items[2] == Waiting(NO_WORKER)


async def test_status_follows_earlier_events(monkeypatch: pytest.MonkeyPatch) -> None:
    happens: list[StreamEvent] = [message(1, 1), message(2, 2, 1), phase(3, "ready", "max_turns")]
    client = FakeClient(happens, [status("ready", stop_reason="max_turns")], delay_seconds=0.05)
    items = await collect_items(client, 4, monkeypatch, RETRY_SECONDS=0.01)
    assert types_of(items) == [MessageAdded, MessageAdded, PhaseNotice, StatusSeen]


async def test_outdated_status_is_polled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = status("ready", stop_reason="max_turns")
    client = FakeClient([phase(1, "ready", "max_turns")], [status("executing"), status("executing"), idle])
    items = await collect_items(client, 2, monkeypatch, RETRY_SECONDS=0.01)
    assert items[1] == StatusSeen(idle)


async def test_deltas_do_not_delay_next_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = status("ready", stop_reason="max_turns")
    late = LiveDelta(turn=1, attempt=1, offset=0, text="Well")
    client = FakeClient(
        [phase(1, "ready", "max_turns"), late], [status("executing"), status("executing"), idle], delay_seconds=0.1
    )
    items = await collect_items(client, 3, monkeypatch, RETRY_SECONDS=0.2)
    assert items[2] == StatusSeen(idle)


@pytest.mark.parametrize("reads_the_end", [True, False])
async def test_stale_status_does_not_block_the_end(monkeypatch: pytest.MonkeyPatch, reads_the_end: bool) -> None:
    before, closed = status("ready", stop_reason="max_turns"), status("closed", stop_reason="operator_stop")
    happens: list[StreamEvent] = [message(1, 1), phase(2, "closed", "operator_stop")]
    client = SlowClient(happens, [before, closed], ends=reads_the_end)
    items = await collect_items(client, 3, monkeypatch)
    assert items[2:] == [StatusSeen(closed)]


async def test_stale_status_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (status("ready", round=number, stop_reason="max_turns") for number in (1, 2))
    happens: list[StreamEvent] = [phase(1, "ready", "max_turns"), phase(2, "executing"), phase(3, "ready", "max_turns")]
    items = await collect_items(SlowClient(happens, [first, second]), 3, monkeypatch)
    assert items[2:] == [StatusSeen(second)]


async def test_status_is_reported_during_events(monkeypatch: pytest.MonkeyPatch) -> None:
    happens: list[StreamEvent] = [phase(1, "executing"), *(message(number, number, 1) for number in range(2, 30))]
    client = BusyClient(happens, [status("executing")], delay_seconds=0.05)
    assert StatusSeen in types_of(await collect_items(client, 20, monkeypatch, RETRY_SECONDS=0.1))


async def test_idle_conversation_is_not_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = status("ready", stop_reason="max_turns")
    client = FakeClient([phase(1, "ready", "max_turns")], [idle])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await collect_items(client, 99, monkeypatch, QUIET_SECONDS=0.05, RETRY_SECONDS=0.01)
    assert client.queries <= 3


async def test_silent_round_is_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient([phase(1, "executing")], [status("executing"), Unavailable("away"), status("executing")])
    items = await collect_items(client, 3, monkeypatch, QUIET_SECONDS=0.05, UNAVAILABLE_RETRY_SECONDS=0.05)
    assert Waiting("away") in items


async def test_database_outage_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = EventsUnavailable(NO_DATABASE)
    client = FakeClient([Interrupted(), message(1, 1)], [gone, status("executing")], delay_seconds=0.05)
    items = await collect_items(client, 3, monkeypatch, UNAVAILABLE_RETRY_SECONDS=0.05)
    assert items[0] == Waiting(NO_DATABASE)
    assert types_of(items[1:]) == [MessageAdded, StatusSeen]


async def test_end_without_end_event_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = status("closed", stop_reason="operator_stop", stop_explanation="enough")
    items = await collect_items(FakeClient([message(1, 1)], [closed], ends=True, delay_seconds=0.05), 3, monkeypatch)
    assert items[1:] == [PhaseNotice("closed", 1, "operator_stop", "enough"), StatusSeen(closed)]


async def test_deltas_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    delta = LiveDelta(turn=1, attempt=1, offset=0, text="Well")
    items = await collect_items(FakeClient([delta], [None]), 1, monkeypatch)
    assert items == [TextDelta(delta)]


def test_restarted_turn_resets_live_text() -> None:
    live_text = LiveText()
    for turn, attempt, offset, text in (
        (1, 1, 0, "Well, "),
        (1, 1, 6, "yes"),
        (1, 2, 0, "Well, no"),
        (1, 1, 9, " late"),
        (1, 2, 8, "."),
    ):
        live_text.add(LiveDelta(turn=turn, attempt=attempt, offset=offset, text=text))
    assert live_text.text == "Well, no."
    live_text.add(LiveDelta(turn=2, attempt=1, offset=40, text="the end"))
    assert live_text.text == "… the end"


@pytest.mark.parametrize(
    ("now", "idle"),
    [
        (status("initializing", pending=PendingStatus(messages=1, commands=0)), False),
        (status("ready", pending=PendingStatus(messages=1, commands=0)), False),
        (status("executing"), False),
        (status("ready"), True),
        (status("ready", stop_reason="max_turns"), True),
        (status("paused", next_probe_at=datetime(2026, 1, 1, tzinfo=UTC)), False),
        (status("paused", pending=PendingStatus(messages=1, commands=0)), True),
        (status("closed"), True),
    ],
)
def test_is_at_rest_by_status(now: ConversationStatus, idle: bool) -> None:
    assert is_round_over(now) is idle

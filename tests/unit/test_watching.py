"""Watching shows every message once, in order, with what happened between, however reading and talking interleave."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groups.errors import NotFound, Unavailable
from groups.ids import AgentId, ConversationId, GroupId
from groups.state import Phase
from groups.status import ConversationStatus, PendingStatus, RosterStatus, UsageStatus
from starter import watching
from starter.client import Tertulia
from starter.timeline import Backlog, Happening, RosterChanged, Said, Silent, is_at_rest, news, pass_on
from starter.watching import NO_DATABASE, NO_WORKER, StatusSeen, Waiting, beginning, read_on, watch
from store.database import Database
from store.membership import MembershipChange
from store.transcript import Message
from store.turns import FinishedTurn

Event = Literal["post", "spoke", "passed", "failed", "change"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = cast(Database, None)

events: st.SearchStrategy[Event] = st.sampled_from(["post", "spoke", "spoke", "passed", "failed", "change"])


@dataclass
class Record:
    """A conversation as the database has it, growing while it is read."""

    coming: list[Event] = field(default_factory=list)
    """What will happen."""
    pace: list[int] = field(default_factory=list)
    """How many of those happen before each read."""
    messages: list[Message] = field(default_factory=list)
    turns: list[FinishedTurn] = field(default_factory=list)
    changes: list[MembershipChange] = field(default_factory=list)
    in_order: list[tuple[str, int]] = field(default_factory=list)

    def go_on(self) -> None:
        for _ in range(self.pace.pop(0) if self.pace else 1):
            if self.coming:
                self.happen(self.coming.pop(0))

    def happen(self, event: Event) -> None:
        seq, turn = len(self.messages), len(self.turns)
        match event:
            case "post":
                self.messages.append(message(seq + 1, None))
                self.in_order.append(("message", seq + 1))
            case "spoke":
                self.messages.append(message(seq + 1, turn + 1))
                self.turns.append(finished(turn + 1, seq + 1, event))
                self.in_order.append(("message", seq + 1))
            case "passed" | "failed":
                self.turns.append(finished(turn + 1, seq, event))
                self.in_order.append(("turn", turn + 1))
            case "change":
                epoch = len(self.changes) + 2
                self.changes.append(change(epoch, turn, seq))
                self.in_order.append(("change", epoch))

    async def read_messages(self, _: object, __: str, *, after_seq: int, limit: int) -> list[Message]:
        self.go_on()
        return [one for one in self.messages if one.seq > after_seq][:limit]

    async def read_turns(self, _: object, __: str, *, after_turn: int, limit: int) -> list[FinishedTurn]:
        self.go_on()
        return [one for one in self.turns if one.turn > after_turn][:limit]

    async def read_changes(self, _: object, __: str, *, after_epoch: int, limit: int) -> list[MembershipChange]:
        self.go_on()
        return [one for one in self.changes if one.epoch > after_epoch][:limit]

    async def last_turn_at(self, _: object, __: str, seq: int) -> int:
        return max((one.turn for one in self.turns if one.seq <= seq), default=0)

    async def last_epoch_at(self, _: object, __: str, seq: int) -> int:
        return max((one.epoch for one in self.changes if one.after_seq <= seq), default=0)


def message(seq: int, turn: int | None) -> Message:
    role: Literal["user", "assistant"] = "user" if turn is None else "assistant"
    return Message(seq=seq, turn=turn, role=role, sender_id=None, sender="A", text=f"{seq}", created_at=NOW)


def finished(turn: int, seq: int, outcome: Any) -> FinishedTurn:
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


def change(epoch: int, turn: int, seq: int) -> MembershipChange:
    return MembershipChange(
        epoch=epoch,
        command_id=f"c{epoch}",
        kind="mute",
        detail={"member": {"agent_id": "a", "name": "A"}},
        after_turn=turn,
        after_seq=seq,
        created_at=NOW,
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


def places(happenings: Sequence[Happening]) -> list[tuple[str, int]]:
    shown: list[tuple[str, int]] = []
    for happening in happenings:
        match happening:
            case Said(message=said):
                shown.append(("message", said.seq))
            case Silent(turn=turn):
                shown.append(("turn", turn.turn))
            case RosterChanged(change=changed):
                shown.append(("change", changed.epoch))
    return shown


def use(record: Record, patch: pytest.MonkeyPatch) -> None:
    for name in ("read_messages", "read_turns", "read_changes", "last_turn_at", "last_epoch_at"):
        patch.setattr(watching, name, getattr(record, name))


async def read_to_the_end(record: Record, backlog: Backlog) -> list[Happening]:
    shown: list[Happening] = []
    for _ in range(1_000):
        over = not record.coming
        happenings, backlog = pass_on(await read_on(NOBODY, "c", backlog))
        shown += happenings
        if over and not happenings:
            return shown
    raise AssertionError("never done")


@settings(max_examples=300, deadline=None)
@given(coming=st.lists(events, max_size=40), pace=st.lists(st.integers(0, 4), max_size=60))
def test_everything_is_shown_once_and_in_the_order_in_which_it_happened(coming: list[Event], pace: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "PAGE", 3)
        record = Record(list(coming), list(pace))
        use(record, patch)
        shown = asyncio.run(read_to_the_end(record, Backlog()))
    assert places(shown) == record.in_order
    assert all(said.turn for said in shown if isinstance(said, Said) and said.message.turn is not None)


@settings(max_examples=200, deadline=None)
@given(
    before=st.lists(events, max_size=25),
    coming=st.lists(events, max_size=25),
    pace=st.lists(st.integers(0, 4), max_size=40),
    last=st.integers(0, 8),
)
def test_one_who_begins_in_the_middle_misses_nothing_from_there_on(
    before: list[Event], coming: list[Event], pace: list[int], last: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "PAGE", 3)
        record = Record([], list(pace))
        for event in before:
            record.happen(event)
        record.coming = list(coming)
        use(record, patch)
        client = FakeClient(record)

        async def shown() -> list[Happening]:
            begin = await beginning(client.typed, "c", last=last)
            return await read_to_the_end(record, begin)

        tail = places(asyncio.run(shown()))
    whole = record.in_order
    posts = sum(event in ("post", "spoke") for event in before)
    first = max(posts - last, 0) + 1
    expected = [place for place in whole if place[0] == "message" and place[1] >= first]
    assert [place for place in tail if place[0] == "message"] == expected
    assert tail == whole[len(whole) - len(tail) :]


@dataclass
class FakeClient:
    """As much of the client as watching uses."""

    record: Record
    answers: list[ConversationStatus | Exception | None] = field(default_factory=list)
    """What the status is, one by one, the last for ever; None = no answer comes."""
    database: Database = NOBODY

    @property
    def typed(self) -> Tertulia:
        return cast(Tertulia, self)

    async def conversation(self, _: str) -> Any:
        @dataclass
        class Row:
            last_seq: int
            final_status: None = None

        return Row(len(self.record.messages))

    async def status(self, _: str) -> ConversationStatus:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.sleep(60)
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer


async def seen(client: FakeClient, count: int) -> list[object]:
    sightings: list[object] = []
    async for sighting in watch(client.typed, "c", Backlog()):
        sightings.append(sighting)
        if len(sightings) == count:
            break
    return sightings


async def test_a_silent_worker_is_told_of_once_and_does_not_hold_the_messages_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(watching, "_PATIENCE_SECONDS", 0.02)
    record = Record(["post", "spoke"], [0] * 12)
    use(record, monkeypatch)
    sightings = await seen(FakeClient(record, [None]), 3)
    assert [type(sighting) for sighting in sightings] == [Waiting, Said, Said]
    assert sightings[0] == Waiting(NO_WORKER)


async def test_a_status_is_told_after_all_that_had_happened_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.01)
    record = Record(["post", "spoke", "spoke"], [3])
    use(record, monkeypatch)
    client = FakeClient(record, [Unavailable("away"), status("closed")])
    sightings = await seen(client, 5)
    assert [type(sighting) for sighting in sightings] == [Said, Said, Said, Waiting, StatusSeen]


async def test_a_database_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    monkeypatch.setattr(watching, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(watching, "_STATUS_SECONDS", 0.01)
    record = Record(["post"], [1])
    use(record, monkeypatch)
    failures = iter([OperationalError("", {}, Exception("gone")), OperationalError("", {}, Exception("gone"))])

    async def failing(*arguments: Any, **options: Any) -> list[Message]:
        for failure in failures:
            raise failure
        return await record.read_messages(*arguments, **options)

    monkeypatch.setattr(watching, "read_messages", failing)
    sightings = await seen(FakeClient(record, [status()]), 3)
    assert sightings[0] == Waiting(NO_DATABASE)
    assert [type(sighting) for sighting in sightings[1:]] == [Said, StatusSeen]


async def test_a_conversation_without_a_row_yet_is_watched_from_its_start() -> None:
    class Young(FakeClient):
        async def conversation(self, _: str) -> Any:
            raise NotFound("no such conversation")

        async def is_running(self, _: str) -> bool:
            return True

    assert await beginning(Young(Record()).typed, "c", last=3) == Backlog()


def test_each_phase_that_matters_is_told_once() -> None:
    seen = [
        status("executing"),
        status("ready", stop_reason="max_turns", stop_explanation="6 of at most 6"),
        status("ready", stop_reason="max_turns", stop_explanation="6 of at most 6"),
        status("executing", round=2),
        status("paused", round=2, paused_because="lunch"),
        status("executing", round=2),
        status("paused", round=2),
        status("closed", round=2, stop_reason="operator_stop", stop_explanation="enough"),
        status("closed", round=2, stop_reason="operator_stop", stop_explanation="enough"),
    ]
    told = [
        (one.kind, one.reason) for before, now in zip([None, *seen], seen, strict=False) for one in news(before, now)
    ]
    assert told == [
        ("round_ended", "max_turns"),
        ("paused", "lunch"),
        ("resumed", ""),
        ("paused", "no member can speak"),
        ("closed", "operator_stop"),
    ]


@pytest.mark.parametrize(
    ("now", "rests"),
    [
        (status("initializing", pending=PendingStatus(messages=1, commands=0)), False),
        (status("ready", pending=PendingStatus(messages=1, commands=0)), False),
        (status("executing"), False),
        (status("ready"), False),
        (status("ready", stop_reason="max_turns"), True),
        (status("paused", next_probe_at=datetime(2026, 1, 1, tzinfo=UTC)), False),
        (status("paused", pending=PendingStatus(messages=1, commands=0)), True),
        (status("closed"), True),
    ],
)
def test_following_ends_when_nothing_is_left_to_wait_for(now: ConversationStatus, rests: bool) -> None:
    assert is_at_rest(now) is rests

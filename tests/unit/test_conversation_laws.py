"""The laws of a conversation, under every order in which things can happen to it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.commands import COMMANDS
from tertulia.core.decisions import (
    CloseConversation,
    CloseRound,
    Finish,
    LoadConversation,
    RecordPosts,
    TakeTurn,
    WaitForInput,
)
from tertulia.core.errors import ConversationClosed
from tertulia.core.failover import NO_PARTICIPANTS
from tertulia.core.group import GroupSettings, Intake
from tertulia.core.pending_changes import AUTOMATIC_ID_PREFIX
from tertulia.core.state import ConversationState
from tertulia.core.state_machine import cancel, decide
from tertulia.core.status import build_status
from tests.unit.strategies import ALL_BUT_STOP, Order, TimelineItem, happenings, makers, play
from tests.unit.world import World

Maker = Callable[[], World]


def assert_all_there(world: World) -> None:
    """Every accepted message that does not wait is in the transcript, once, in the order of acceptance."""
    waiting = [post.message_id for post in world.state.pending_posts]
    assert world.recorded() + waiting == world.accepted
    assert [line.seq for line in world.transcript] == list(range(1, len(world.transcript) + 1))
    assert [turn.turn for turn in world.turns] == list(range(1, len(world.turns) + 1))


@given(makers(), happenings(tuple(COMMANDS)))
def test_what_was_accepted_is_in_the_transcript_once_and_in_order(make: Maker, happened: list[TimelineItem]) -> None:
    world = make()
    for happening in happened:
        play(world, happening)
    assert_all_there(world)


@given(makers(), happenings(ALL_BUT_STOP))
def test_a_conversation_that_is_let_run_leaves_no_message_waiting(make: Maker, happened: list[TimelineItem]) -> None:
    world = make()
    for happening in happened:
        play(world, happening)
    world.outcome, world.down = (lambda turn: "spoke"), (lambda turn: ())
    if world.state.paused_because is not None:
        world.command("resume", "let it run")
    rest = world.settle()
    if build_status(world.state).paused_because == NO_PARTICIPANTS:
        assert not any(member.state == "active" for member in world.state.roster.members)
        world.command("add_member", "somebody", agent="a9")
        rest = world.settle()
    assert_all_there(world)
    if world.state.roster.active_members() or world.state.phase == "closed":
        assert world.state.pending_posts == ()
        assert isinstance(rest, Finish) or rest == WaitForInput(phase="ready")


@given(makers(), happenings(ALL_BUT_STOP), st.integers(0, 3))
def test_stop_closes_with_every_message_recorded(make: Maker, happened: list[TimelineItem], posts: int) -> None:
    world = make()
    for happening in happened:
        play(world, happening)
    if world.state.stop or world.state.phase in ("terminating", "closed"):
        return  # a budget's end, say, closes it already
    for number in range(posts):
        play(world, Order("post_message", COMMANDS["post_message"].model_validate({"text": "x"}), f"last-{number}"))
    turns = len(world.turns)
    world.command("stop", "the end", reason="enough")
    assert isinstance(world.run(), Finish)
    assert world.recorded() == world.accepted
    assert len(world.turns) <= turns + 1, "only the turn that was under way is finished"
    assert (world.state.phase, world.state.stop_reason, world.state.stop_explanation) == (
        "closed",
        "operator_stop",
        "enough",
    )


@given(makers(), happenings(tuple(COMMANDS)), st.sets(st.integers(0, 60)))
def test_continuing_as_new_at_any_point_changes_nothing(
    make: Maker, happened: list[TimelineItem], points: set[int]
) -> None:
    straight, reborn = make(), make()
    for number, happening in enumerate(happened):
        play(straight, happening)
        play(reborn, happening)
        if number in points or not points:
            reborn.state = ConversationState.model_validate_json(reborn.state.model_dump_json())
    assert reborn.transcript == straight.transcript
    assert reborn.decisions == straight.decisions
    assert reborn.receipts == straight.receipts
    assert reborn.state == straight.state


@given(makers(), happenings(tuple(COMMANDS)))
def test_the_machine_never_spins(make: Maker, happened: list[TimelineItem]) -> None:
    world = make()
    for happening in happened:
        play(world, happening)
        if isinstance(happening, Order):
            world.run()
    assert isinstance(world.run(), WaitForInput | Finish)


@given(makers(), happenings(tuple(COMMANDS)))
def test_deciding_has_no_effect_and_depends_on_the_state_alone(make: Maker, happened: list[TimelineItem]) -> None:
    world = make()
    for happening in happened:
        play(world, happening)
        before = world.state.model_dump_json()
        assert decide(world.state) == decide(ConversationState.model_validate_json(before))
        assert world.state.model_dump_json() == before


@given(makers(), happenings(ALL_BUT_STOP))
def test_accepted_changes_of_members_are_all_applied_and_the_database_follows(
    make: Maker, happened: list[TimelineItem]
) -> None:
    world = make()
    for happening in happened:
        play(world, happening)
    promised = list(dict.fromkeys(receipt.epoch for receipt in world.receipts if receipt.epoch is not None))
    assert promised == sorted(promised), "each change is promised the next epoch"
    world.run()
    if world.state.phase == "closed":
        return
    assert world.state.pending_changes == ()
    made = {2 + number: str(change.command_id) for number, change in enumerate(world.changes)}
    operators = {epoch: name for epoch, name in made.items() if not name.startswith(AUTOMATIC_ID_PREFIX)}
    assert list(operators) == promised, "an operator's change is made at the epoch that it was promised"
    assert [operators[one.epoch] for one in world.receipts if one.epoch] == [
        one.command_id for one in world.receipts if one.epoch
    ]
    assert all(name == f"{AUTOMATIC_ID_PREFIX}{epoch}" for epoch, name in made.items() if epoch not in operators)
    assert world.state.roster.epoch == 1 + len(world.changes)
    if world.changes:
        assert [(one.agent_id, one.effective_state) for one in world.stored.members] == [
            (one.agent_id, one.effective_state) for one in world.state.roster.members
        ]


@pytest.mark.parametrize(
    ("intake", "rounds"),
    [
        ("interject", [["first"], ["later"]]),
        ("queue", [["first"], ["second"], ["third"], ["later"]]),
        ("batch", [["first"], ["second", "third"], ["later"]]),
    ],
)
def test_each_intake_gives_waiting_messages_their_rounds(intake: Intake, rounds: list[list[str]]) -> None:
    world = World.loaded(settings=GroupSettings(intake=intake))
    world.post("first")
    world.turn()
    world.post("second")
    world.post("third")
    world.run()
    world.post("later")
    world.run()
    opened: list[list[str]] = []
    between = True
    for decision in world.decisions:
        if isinstance(decision, RecordPosts) and between:
            opened.append([str(post.message_id) for post in decision.posts])
        between = isinstance(decision, CloseRound) or (between and not isinstance(decision, RecordPosts))
    assert opened == rounds
    assert world.recorded() == ["first", "second", "third", "later"]
    assert world.state.rounds == len(rounds)


def test_an_interjected_message_enters_at_the_next_turn_boundary() -> None:
    world = World.loaded()
    world.post("first")
    world.turn()
    world.half_step()
    world.post("second")
    world.run()
    assert [line.message_id or line.turn for line in world.transcript] == ["first", 1, 2, "second", 3]


@pytest.mark.parametrize("intake", ["interject", "queue", "batch"])
def test_a_message_that_comes_while_the_last_turn_runs_sets_off_a_new_round(intake: Intake) -> None:
    world = World.loaded(settings=GroupSettings(intake=intake))
    world.post("first")
    world.turn()
    world.turn()
    world.half_step()
    assert world.under_way is not None
    world.post("second")
    world.run()
    assert world.state.rounds == 2
    assert [line.message_id or line.turn for line in world.transcript] == ["first", 1, 2, 3, "second", 4, 5, 6]


def test_a_conversation_that_closes_after_its_round_hears_late_messages_first() -> None:
    world = World.loaded(close_after_round=True)
    world.post("first")
    for _ in range(2):
        world.turn()
    world.half_step()
    world.post("second")
    assert isinstance(world.run(), Finish)
    assert world.recorded() == ["first", "second"]
    assert world.state.rounds == 2
    assert world.state.stop_reason == "max_turns"


def test_a_paused_conversation_keeps_messages_and_takes_no_turn() -> None:
    world = World.loaded()
    world.command("pause", "p", reason="lunch")
    world.post("first")
    assert world.run() == WaitForInput(phase="paused")
    assert (world.turns, world.recorded(), len(world.state.pending_posts)) == ([], [], 1)
    world.command("resume", "r")
    world.run()
    assert len(world.turns) == 3


def test_a_pause_lets_the_turn_under_way_finish() -> None:
    world = World.loaded()
    world.post("first")
    world.half_step()
    world.half_step()
    world.half_step()
    world.command("pause", "p")
    world.run()
    assert len(world.turns) == 1
    assert world.state.phase == "paused"


def test_a_paused_conversation_can_be_stopped() -> None:
    world = World.loaded()
    world.command("pause", "p")
    world.post("first")
    world.command("stop", "s")
    assert isinstance(world.run(), Finish)
    assert world.recorded() == ["first"]


def test_a_closed_conversation_takes_nothing_more() -> None:
    world = World.loaded()
    world.command("stop", "s")
    world.run()
    with pytest.raises(ConversationClosed):
        world.post("late")
    assert decide(world.state) == Finish()


def test_members_that_change_while_a_turn_runs_change_at_its_end() -> None:
    world = World.loaded()
    world.post("first")
    world.half_step()
    world.half_step()
    world.half_step()
    world.command("remove_member", "r", agent="a0")
    assert [member.agent_id for member in world.state.roster.members] == ["a0", "a1", "a2"]
    world.half_step()
    world.half_step()
    world.half_step()
    assert [member.agent_id for member in world.state.roster.members] == ["a1", "a2"]
    assert world.speakers() == ["a0"]


def test_a_conversation_cancelled_while_it_loads_is_loaded_and_then_closed() -> None:
    world = World()
    world.post("first")
    assert isinstance(world.half_step(), LoadConversation)
    world.state, world.under_way = cancel(world.state), None
    assert isinstance(world.run(), Finish)
    assert [type(decision) for decision in world.decisions[1:]] == [
        LoadConversation,
        RecordPosts,
        CloseConversation,
        Finish,
    ]
    assert world.state.stop_reason == "cancelled"


def test_a_cancelled_conversation_drops_the_turn_under_way_and_records_what_waits() -> None:
    world = World.loaded()
    world.post("first")
    world.turn()
    assert isinstance(world.half_step(), TakeTurn)
    world.post("second")
    world.state, world.under_way = cancel(world.state), None
    assert isinstance(world.run(), Finish)
    assert [line.message_id or line.turn for line in world.transcript] == ["first", 1, "second"]

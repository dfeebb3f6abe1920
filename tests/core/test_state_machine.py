"""Invariants of a conversation under any order of actions."""

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
from tests.core.simulator import CoreSimulator
from tests.core.strategies import ALL_BUT_STOP, Action, CommandAction, action_lists, perform_action, simulator_factories

SimulatorFactory = Callable[[], CoreSimulator]


def assert_nothing_lost(simulator: CoreSimulator) -> None:
    """Assert that every accepted message that does not wait is in the transcript, once and in order."""
    waiting = [post.message_id for post in simulator.state.pending_posts]
    assert simulator.recorded_ids() + waiting == simulator.accepted
    assert [line.seq for line in simulator.transcript] == list(range(1, len(simulator.transcript) + 1))
    assert [turn.turn for turn in simulator.turns] == list(range(1, len(simulator.turns) + 1))


@given(simulator_factories(), action_lists(tuple(COMMANDS)))
def test_accepted_posts_recorded_once_in_order(make: SimulatorFactory, actions: list[Action]) -> None:
    simulator = make()
    for action in actions:
        perform_action(simulator, action)
    assert_nothing_lost(simulator)


@given(simulator_factories(), action_lists(ALL_BUT_STOP))
def test_settled_conversation_has_no_pending_post(make: SimulatorFactory, actions: list[Action]) -> None:
    simulator = make()
    for action in actions:
        perform_action(simulator, action)
    simulator.outcome, simulator.down = (lambda turn: "spoke"), (lambda turn: ())
    if simulator.state.paused_because is not None:
        simulator.command("resume", "let it run")
    rest = simulator.settle()
    if build_status(simulator.state).paused_because == NO_PARTICIPANTS:
        assert not any(member.state == "active" for member in simulator.state.roster.members)
        simulator.command("add_member", "somebody", agent="a9")
        rest = simulator.settle()
    assert_nothing_lost(simulator)
    if simulator.state.roster.active_members() or simulator.state.phase == "closed":
        assert simulator.state.pending_posts == ()
        assert isinstance(rest, Finish) or rest == WaitForInput(phase="ready")


@given(simulator_factories(), action_lists(ALL_BUT_STOP), st.integers(0, 3))
def test_stop_closes_with_every_message_recorded(make: SimulatorFactory, actions: list[Action], posts: int) -> None:
    simulator = make()
    for action in actions:
        perform_action(simulator, action)
    if simulator.state.stop or simulator.state.phase in ("terminating", "closed"):
        return  # for example a spent budget has closed it
    for number in range(posts):
        perform_action(
            simulator,
            CommandAction("post_message", COMMANDS["post_message"].model_validate({"text": "x"}), f"last-{number}"),
        )
    turns = len(simulator.turns)
    simulator.command("stop", "the end", reason="enough")
    assert isinstance(simulator.run(), Finish)
    assert simulator.recorded_ids() == simulator.accepted
    assert len(simulator.turns) <= turns + 1, "only the turn that was under way is finished"
    assert (simulator.state.phase, simulator.state.stop_reason, simulator.state.stop_explanation) == (
        "closed",
        "operator_stop",
        "enough",
    )


@given(simulator_factories(), action_lists(tuple(COMMANDS)), st.sets(st.integers(0, 60)))
def test_continue_as_new_changes_nothing(make: SimulatorFactory, actions: list[Action], points: set[int]) -> None:
    uninterrupted, continued = make(), make()
    for number, action in enumerate(actions):
        perform_action(uninterrupted, action)
        perform_action(continued, action)
        if number in points or not points:
            continued.state = ConversationState.model_validate_json(continued.state.model_dump_json())
    assert continued.transcript == uninterrupted.transcript
    assert continued.decisions == uninterrupted.decisions
    assert continued.receipts == uninterrupted.receipts
    assert continued.state == uninterrupted.state


@given(simulator_factories(), action_lists(tuple(COMMANDS)))
def test_state_machine_never_spins(make: SimulatorFactory, actions: list[Action]) -> None:
    simulator = make()
    for action in actions:
        perform_action(simulator, action)
        if isinstance(action, CommandAction):
            simulator.run()
    assert isinstance(simulator.run(), WaitForInput | Finish)


@given(simulator_factories(), action_lists(tuple(COMMANDS)))
def test_decide_is_a_pure_function(make: SimulatorFactory, actions: list[Action]) -> None:
    simulator = make()
    for action in actions:
        perform_action(simulator, action)
        before = simulator.state.model_dump_json()
        assert decide(simulator.state) == decide(ConversationState.model_validate_json(before))
        assert simulator.state.model_dump_json() == before


@given(simulator_factories(), action_lists(ALL_BUT_STOP))
def test_accepted_changes_are_all_applied(make: SimulatorFactory, actions: list[Action]) -> None:
    simulator = make()
    for action in actions:
        perform_action(simulator, action)
    promised = list(dict.fromkeys(receipt.epoch for receipt in simulator.receipts if receipt.epoch is not None))
    assert promised == sorted(promised), "each change is promised the next epoch"
    simulator.run()
    if simulator.state.phase == "closed":
        return
    assert simulator.state.pending_changes == ()
    made = {2 + number: str(change.command_id) for number, change in enumerate(simulator.changes)}
    operators = {epoch: name for epoch, name in made.items() if not name.startswith(AUTOMATIC_ID_PREFIX)}
    assert list(operators) == promised, "an operator's change is made at the epoch that it was promised"
    assert [operators[one.epoch] for one in simulator.receipts if one.epoch] == [
        one.command_id for one in simulator.receipts if one.epoch
    ]
    assert all(name == f"{AUTOMATIC_ID_PREFIX}{epoch}" for epoch, name in made.items() if epoch not in operators)
    assert simulator.state.roster.epoch == 1 + len(simulator.changes)
    if simulator.changes:
        assert [(one.agent_id, one.effective_state) for one in simulator.stored.members] == [
            (one.agent_id, one.effective_state) for one in simulator.state.roster.members
        ]


@pytest.mark.parametrize(
    ("intake", "rounds"),
    [
        ("interject", [["first"], ["later"]]),
        ("queue", [["first"], ["second"], ["third"], ["later"]]),
        ("batch", [["first"], ["second", "third"], ["later"]]),
    ],
)
def test_intake_determines_rounds(intake: Intake, rounds: list[list[str]]) -> None:
    simulator = CoreSimulator.loaded(settings=GroupSettings(intake=intake))
    simulator.post("first")
    simulator.turn()
    simulator.post("second")
    simulator.post("third")
    simulator.run()
    simulator.post("later")
    simulator.run()
    opened: list[list[str]] = []
    between = True
    for decision in simulator.decisions:
        if isinstance(decision, RecordPosts) and between:
            opened.append([str(post.message_id) for post in decision.posts])
        between = isinstance(decision, CloseRound) or (between and not isinstance(decision, RecordPosts))
    assert opened == rounds
    assert simulator.recorded_ids() == ["first", "second", "third", "later"]
    assert simulator.state.rounds == len(rounds)


def test_interjected_post_enters_at_boundary() -> None:
    simulator = CoreSimulator.loaded()
    simulator.post("first")
    simulator.turn()
    simulator.half_step()
    simulator.post("second")
    simulator.run()
    assert [line.message_id or line.turn for line in simulator.transcript] == ["first", 1, 2, "second", 3]


@pytest.mark.parametrize("intake", ["interject", "queue", "batch"])
def test_post_during_last_turn_starts_round(intake: Intake) -> None:
    simulator = CoreSimulator.loaded(settings=GroupSettings(intake=intake))
    simulator.post("first")
    simulator.turn()
    simulator.turn()
    simulator.half_step()
    assert simulator.current_decision is not None
    simulator.post("second")
    simulator.run()
    assert simulator.state.rounds == 2
    assert [line.message_id or line.turn for line in simulator.transcript] == ["first", 1, 2, 3, "second", 4, 5, 6]


def test_close_after_round_handles_late_post() -> None:
    simulator = CoreSimulator.loaded(close_after_round=True)
    simulator.post("first")
    for _ in range(2):
        simulator.turn()
    simulator.half_step()
    simulator.post("second")
    assert isinstance(simulator.run(), Finish)
    assert simulator.recorded_ids() == ["first", "second"]
    assert simulator.state.rounds == 2
    assert simulator.state.stop_reason == "max_turns"


def test_pause_keeps_posts_and_takes_no_turn() -> None:
    simulator = CoreSimulator.loaded()
    simulator.command("pause", "p", reason="lunch")
    simulator.post("first")
    assert simulator.run() == WaitForInput(phase="paused")
    assert (simulator.turns, simulator.recorded_ids(), len(simulator.state.pending_posts)) == ([], [], 1)
    simulator.command("resume", "r")
    simulator.run()
    assert len(simulator.turns) == 3


def test_pause_lets_current_turn_finish() -> None:
    simulator = CoreSimulator.loaded()
    simulator.post("first")
    simulator.half_step()
    simulator.half_step()
    simulator.half_step()
    simulator.command("pause", "p")
    simulator.run()
    assert len(simulator.turns) == 1
    assert simulator.state.phase == "paused"


def test_paused_conversation_can_be_stopped() -> None:
    simulator = CoreSimulator.loaded()
    simulator.command("pause", "p")
    simulator.post("first")
    simulator.command("stop", "s")
    assert isinstance(simulator.run(), Finish)
    assert simulator.recorded_ids() == ["first"]


def test_closed_conversation_refuses_posts() -> None:
    simulator = CoreSimulator.loaded()
    simulator.command("stop", "s")
    simulator.run()
    with pytest.raises(ConversationClosed):
        simulator.post("late")
    assert decide(simulator.state) == Finish()


def test_member_change_applies_after_turn() -> None:
    simulator = CoreSimulator.loaded()
    simulator.post("first")
    simulator.half_step()
    simulator.half_step()
    simulator.half_step()
    simulator.command("remove_member", "r", agent="a0")
    assert [member.agent_id for member in simulator.state.roster.members] == ["a0", "a1", "a2"]
    simulator.half_step()
    simulator.half_step()
    simulator.half_step()
    assert [member.agent_id for member in simulator.state.roster.members] == ["a1", "a2"]
    assert simulator.speakers() == ["a0"]


def test_cancel_while_loading_closes() -> None:
    simulator = CoreSimulator()
    simulator.post("first")
    assert isinstance(simulator.half_step(), LoadConversation)
    simulator.state, simulator.current_decision = cancel(simulator.state), None
    assert isinstance(simulator.run(), Finish)
    assert [type(decision) for decision in simulator.decisions[1:]] == [
        LoadConversation,
        RecordPosts,
        CloseConversation,
        Finish,
    ]
    assert simulator.state.stop_reason == "cancelled"


def test_cancel_drops_turn_and_records_posts() -> None:
    simulator = CoreSimulator.loaded()
    simulator.post("first")
    simulator.turn()
    assert isinstance(simulator.half_step(), TakeTurn)
    simulator.post("second")
    simulator.state, simulator.current_decision = cancel(simulator.state), None
    assert isinstance(simulator.run(), Finish)
    assert [line.message_id or line.turn for line in simulator.transcript] == ["first", 1, "second"]

"""Admission: a refused command changes nothing, an admitted one cannot fail later, a repeated id has no effect.

`CoreSimulator.send` compares the state before and after each command.
"""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tertulia.core.admission import admit, newcomer_of, record_rejection
from tertulia.core.base import format_validation_error
from tertulia.core.commands import COMMANDS, PostMessage
from tertulia.core.errors import CommandRefused, ConversationClosed
from tertulia.core.group import MAX_MEMBERS, DynamicConfig, GroupSettings, RoundRobinConfig
from tertulia.core.ids import AgentId, CommandId
from tertulia.core.pending_changes import expected_roster
from tertulia.core.roster import MemberRef
from tertulia.core.roster_changes import MemberMuted
from tertulia.core.state import MAX_PENDING_CHANGES, RECENT_REJECTIONS
from tertulia.core.status import build_status
from tests.core.simulator import CoreSimulator, ref
from tests.core.strategies import (
    ALL_BUT_STOP,
    Action,
    CommandAction,
    action_lists,
    command_actions,
    perform_action,
    simulator_factories,
)


def refusal_reason(simulator: CoreSimulator, name: str, **fields: object) -> str:
    """Return the reason with which the command is refused."""
    with pytest.raises(CommandRefused) as refusal:
        simulator.command(name, "refused", **fields)
    assert "refused" not in simulator.state.receipts
    return str(refusal.value)


@given(simulator_factories(), action_lists(ALL_BUT_STOP), command_actions(ALL_BUT_STOP))
def test_repeated_id_returns_first_receipt(
    make: Callable[[], CoreSimulator], actions: list[Action], order: CommandAction
) -> None:
    simulator = make()
    try:
        first = simulator.send(order.name, order.command, order.command_id)
    except CommandRefused:
        return
    for action in actions:
        perform_action(simulator, action)
    assert simulator.send(order.name, order.command, order.command_id) == first


@given(simulator_factories(), action_lists(tuple(COMMANDS)))
def test_expected_roster_is_reached(make: Callable[[], CoreSimulator], actions: list[Action]) -> None:
    simulator = make()
    for action in actions:
        perform_action(simulator, action)
    promised = [(one.agent_id, one.state) for one in expected_roster(simulator.state).members]
    simulator.run()
    spent = {one.member.agent_id for one in simulator.changes if isinstance(one, MemberMuted) and one.reason}
    assert [
        (one.agent_id, one.state if one.agent_id not in spent else state)
        for one, (_, state) in zip(simulator.state.roster.members, promised, strict=True)
    ] == promised


def test_repeated_message_id_is_one_message() -> None:
    simulator = CoreSimulator.loaded()
    first = simulator.post("m")
    assert simulator.post("m", text="something else") == first
    simulator.run()
    assert simulator.post("m") == first
    assert simulator.recorded_ids() == ["m"]


def test_command_id_stays_used_after_close() -> None:
    simulator = CoreSimulator.loaded()
    receipt = simulator.command("stop", "s")
    simulator.run()
    assert simulator.command("stop", "s") == receipt
    with pytest.raises(ConversationClosed):
        simulator.command("stop", "another")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("post_message", "pause", "resume", "stop")])
def test_commands_before_loading_are_refused(name: str) -> None:
    fields: dict[str, dict[str, object]] = {
        "reorder_members": {"agents": ["a0"]},
        "replace_member": {"agent": "a0", "replacement": "a1"},
        "update_settings": {"intake": "queue"},
    }
    simulator = CoreSimulator()
    for _ in range(2):
        assert "loading" in refusal_reason(simulator, name, **fields.get(name, {"agent": "a0"}))
        simulator.half_step()
    simulator.run()
    assert simulator.state.settings.intake == "interject"


def test_posts_before_loading_are_accepted() -> None:
    simulator = CoreSimulator()
    simulator.post("early")
    simulator.half_step()
    simulator.post("while it loads")
    simulator.run()
    assert simulator.recorded_ids() == ["early", "while it loads"]


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("add_member", {"agent": "a1"}, "'Agent1' is already a member"),
        ("remove_member", {"agent": "a6"}, "'a6' is not a member"),
        ("remove_member", {"agent": "Nobody"}, "members: Agent0, Agent1, Agent2"),
        ("replace_member", {"agent": "a6", "replacement": "a5"}, "'a6' is not a member"),
        ("replace_member", {"agent": "a0", "replacement": "a1"}, "'Agent1' is already a member"),
        ("reorder_members", {"agents": ["a0", "a1"]}, "agents: the new order must name every member once"),
        ("reorder_members", {"agents": ["a0", "a1", "a1"]}, "agents: the new order must name every member once"),
        ("reorder_members", {"agents": ["a0", "a1", "a2", "a2"]}, "agents: the new order must name every member once"),
        ("unmute_member", {"agent": "a0"}, "is not muted (its state is active)"),
        ("reinstate_member", {"agent": "a0"}, "'Agent0' is healthy; there is nothing to reinstate"),
        ("reinstate_member", {"agent": "Manager"}, "'Manager' is healthy; there is nothing to reinstate"),
        ("reinstate_member", {"agent": "a6"}, "'a6' is not a member"),
        ("add_member", {"agent": "a5", "state": "standby", "stands_in_for": "a6"}, "'a6' is not a member"),
        ("update_settings", {"fallback_manager_ids": ["a1"]}, "fallback_manager_ids: no such setting"),
        ("update_settings", {"budgets": [{"tokens": 0}]}, "budgets.0.tokens: must be greater than 0"),
        ("update_settings", {"budgets": [{}]}, "a budget must limit at least one of tokens"),
        ("update_settings", {"on_failure": ["pray"]}, "on_failure.0: "),
        ("resume", {}, "is not paused"),
        ("update_settings", {}, "no setting is given; available: allow"),
        ("update_settings", {"manager_type": "round_robin"}, "manager_type: no such setting"),
        ("update_settings", {"manager_agent_id": "a1"}, "manager_agent_id: no such setting"),
        ("update_settings", {"max_turn": 3}, "max_turn: no such setting; available:"),
        ("update_settings", {"max_turns": 0}, "max_turns: must be greater than 0"),
        ("update_settings", {"max_turns": "many", "intake": "queue"}, "max_turns: must be a whole number"),
        ("update_settings", {"preview_chars": -1}, "preview_chars: "),
        ("update_settings", {"intake": "shout"}, "intake: "),
        ("update_settings", {"termination": {"type": "time_budget", "seconds": "inf"}}, "finite"),
        ("post_message", {"text": "hi", "sender": "agent1"}, "sender: 'agent1' is a member"),
        ("post_message", {"text": "x" * 101}, "text: 101 characters; max_message_chars is 100"),
    ],
)
def test_impossible_command_is_refused(name: str, fields: dict[str, object], message: str) -> None:
    rules = DynamicConfig(manager_agent_id=AgentId("manager"))
    simulator = CoreSimulator.loaded(rules=rules, settings=GroupSettings(max_message_chars=100))
    assert message in refusal_reason(simulator, name, **fields)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("post_message", {}, "text: is required"),
        ("post_message", {"text": "   "}, "text: must have at least 1 character"),
        ("post_message", {"text": "a\0b"}, "text: NUL characters are not allowed"),
        ("post_message", {"text": "a\ud800b"}, "text: must be valid Unicode text"),
        ("post_message", {"text": "hi", "sender": "a:b"}, "sender: colons and control characters are not allowed"),
        ("post_message", {"text": "hi", "sender": "a\nb"}, "sender: colons and control characters are not allowed"),
        ("post_message", {"text": "hi", "loud": True}, "loud: unknown field"),
        ("post_message", {"text": "hi", "command_id": "x" * 201}, "command_id: "),
        ("add_member", {}, "agent: is required"),
        ("add_member", {"agent": "a1", "position": -1}, "position: "),
        ("add_member", {"agent": "a1", "state": "isolated"}, "state: "),
        ("add_member", {"agent": "a1", "stands_in_for": "a0"}, "stands_in_for: allowed only with state 'standby'"),
        ("remove_member", {"agent": "a1", "in_flight": "forget"}, "in_flight: "),
        ("add_member", {"agent": "a1", "catch_up": "last:0"}, "catch_up: "),
        ("add_member", {"agent": "a\0"}, "agent: NUL characters are not allowed"),
        ("reorder_members", {"agents": []}, "agents: "),
        ("stop", {"reason": "a\0b"}, "reason: NUL characters are not allowed"),
        ("pause", {"until": "tomorrow"}, "until: unknown field"),
    ],
)
def test_malformed_command_names_field(name: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        COMMANDS[name].model_validate(fields)
    assert message in format_validation_error(error.value)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "update_settings"])
def test_commands_forbid_unknown_fields(name: str) -> None:
    with pytest.raises(ValidationError) as error:
        COMMANDS[name].model_validate({"text": "x", "agent": "a", "agents": ["a"], "replacement": "b", "bogus": 1})
    assert "bogus: unknown field" in format_validation_error(error.value)


def test_members_are_named_by_id_or_name() -> None:
    simulator = CoreSimulator.loaded()
    simulator.command("mute_member", "1", agent="AGENT1")
    simulator.command("remove_member", "2", agent="a2")
    simulator.command("add_member", "3", agent="a4", position=0)
    simulator.command("replace_member", "4", agent="agent0", replacement="a5")
    simulator.run()
    assert [(one.agent_id, one.state) for one in simulator.state.roster.members] == [
        ("a4", "active"),
        ("a5", "active"),
        ("a1", "muted"),
    ]


def test_old_field_names_are_accepted() -> None:
    assert newcomer_of(COMMANDS["add_member"].model_validate({"agent_id": "a1"})) == "a1"
    replacing = COMMANDS["replace_member"].model_validate({"agent_id": "a1", "replacement_id": "a2"})
    assert newcomer_of(replacing) == "a2"
    assert newcomer_of(COMMANDS["remove_member"].model_validate({"agent_id": "a1"})) is None


def test_commands_check_expected_roster() -> None:
    simulator = CoreSimulator.loaded()
    simulator.command("remove_member", "1", agent="a0")
    assert "is not a member" in refusal_reason(simulator, "mute_member", agent="a0")
    simulator.command("add_member", "2", agent="a4")
    receipt = simulator.command("mute_member", "3", agent="a4")
    assert receipt.epoch == 4
    assert "sender: 'Agent4' is a member" in refusal_reason(simulator, "post_message", text="hi", sender="Agent4")
    simulator.run()
    assert (simulator.state.roster.epoch, [one.agent_id for one in simulator.state.roster.active_members()]) == (
        4,
        ["a1", "a2"],
    )


def test_add_member_with_same_name_is_refused() -> None:
    simulator = CoreSimulator.loaded()
    command = COMMANDS["add_member"].model_validate({"agent": "other"})
    namesake = MemberRef(agent_id=AgentId("other"), name="AGENT1")
    with pytest.raises(CommandRefused, match="has the name 'AGENT1' already"):
        admit(simulator.state, "add_member", command, CommandId("x"), joining=namesake)


def test_manager_cannot_be_a_member() -> None:
    simulator = CoreSimulator.loaded(rules=DynamicConfig(manager_agent_id=AgentId("a5")))
    assert "'Agent5' manages this conversation" in refusal_reason(simulator, "add_member", agent="a5")
    assert "'Agent5' manages this conversation" in refusal_reason(
        simulator, "replace_member", agent="a0", replacement="a5"
    )


def test_full_roster_refuses_members() -> None:
    simulator = CoreSimulator.loaded(members=tuple(ref(number) for number in range(MAX_MEMBERS)))
    assert f"at most {MAX_MEMBERS} members" in refusal_reason(simulator, "add_member", agent="a200")
    simulator.command("replace_member", "r", agent="a0", replacement="a200")
    simulator.run()
    assert len(simulator.state.roster.members) == MAX_MEMBERS


def test_pending_posts_are_limited() -> None:
    simulator = CoreSimulator.loaded(settings=GroupSettings(max_pending_messages=2))
    simulator.post("1")
    simulator.post("2")
    assert "max_pending_messages" in refusal_reason(simulator, "post_message", text="3")
    simulator.run()
    simulator.post("3")
    simulator.run()
    assert simulator.recorded_ids() == ["1", "2", "3"]


def test_pending_changes_are_limited() -> None:
    simulator = CoreSimulator.loaded()
    for number in range(MAX_PENDING_CHANGES):
        simulator.command("unmute_member" if number % 2 else "mute_member", f"c{number}", agent="a0")
    assert f"{MAX_PENDING_CHANGES} roster changes" in refusal_reason(simulator, "mute_member", agent="a0")
    simulator.run()
    simulator.command("mute_member", "later", agent="a0")


def test_update_settings_changes_named_fields() -> None:
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=4), settings=GroupSettings(preview_chars=7))
    simulator.command("update_settings", "u", max_turns=2, intake="batch", termination_token=None)
    assert simulator.state.manager_config == RoundRobinConfig(max_turns=2, termination_token=None)
    assert simulator.state.settings == GroupSettings(preview_chars=7, intake="batch")
    simulator.post("m")
    simulator.run()
    assert len(simulator.turns) == 2


def test_rejections_are_bounded_newest_last() -> None:
    simulator = CoreSimulator.loaded()
    state = simulator.state
    for number in range(RECENT_REJECTIONS + 5):
        state = record_rejection(state, "add_member", f"id-{number}", "no such agent: 'x'")
    shown = build_status(state).rejected
    assert [one.command_id for one in shown] == [f"id-{number}" for number in range(5, RECENT_REJECTIONS + 5)]
    assert shown[0].reason == "no such agent: 'x'"
    assert state.model_copy(update={"rejected": ()}) == simulator.state


@given(st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text))
def test_post_text_is_kept_verbatim(text: str) -> None:
    simulator = CoreSimulator.loaded()
    simulator.send("post_message", PostMessage(text=text), "m")
    simulator.run()
    assert simulator.transcript[0].text in text
    assert simulator.transcript[0].text.strip() == text.strip()


@pytest.mark.parametrize("name", ["pause", "mute_member", "post_message"])
def test_reserved_command_ids_are_refused(name: str) -> None:
    simulator = CoreSimulator.loaded()
    fields = {"mute_member": {"agent": "a0"}, "post_message": {"text": "x"}}.get(name, {})
    with pytest.raises(CommandRefused, match="command_id: the prefix 'auto:' is reserved"):
        simulator.command(name, "auto:2", **fields)

"""Admission of commands on isolated members, managers and the current speaker."""

import pytest

from tertulia.core.group import DynamicConfig, GroupSettings, Standby
from tertulia.core.ids import AgentId
from tertulia.core.pending_changes import in_flight_policy
from tertulia.core.status import build_status
from tests.core.simulator import CoreSimulator, ref
from tests.core.test_admission import refusal_reason


def isolate_members(simulator: CoreSimulator, *agents: str) -> CoreSimulator:
    """Fail the models of these agents until they are isolated, and restore them."""
    simulator.command("update_settings", "strict", isolate_after_failures=1, cool_down_turns=None)
    simulator.down = lambda turn: agents
    simulator.post("m")
    simulator.run()
    simulator.down = lambda turn: ()
    return simulator


def test_isolated_member_needs_reinstatement() -> None:
    simulator = isolate_members(CoreSimulator.loaded(), "a1")
    message = refusal_reason(simulator, "unmute_member", agent="a1")
    assert message == "'Agent1' is not muted (its state is isolated); reinstate_member ends its isolation"
    simulator.command("reinstate_member", "r", agent="agent1")
    simulator.post("again")
    simulator.run()
    assert simulator.speakers()[-3:] == ["a0", "a1", "a2"]
    assert simulator.state.roster.get("a1").effective_state == "active"


def test_unmuted_member_stays_isolated() -> None:
    simulator = isolate_members(CoreSimulator.loaded(), "a1")
    simulator.command("mute_member", "m1", agent="a1")
    simulator.run()
    assert simulator.state.roster.get("a1").effective_state == "muted"
    simulator.command("unmute_member", "u1", agent="a1")
    simulator.run()
    assert simulator.state.roster.get("a1").effective_state == "isolated"


def test_manager_is_reinstated_by_id_or_name() -> None:
    for who in ("manager", "MANAGER"):
        simulator = isolate_members(
            CoreSimulator.loaded(rules=DynamicConfig(manager_agent_id=AgentId("manager"), max_turns=2)), "manager"
        )
        assert build_status(simulator.state).roster.managers[0].health.state == "isolated"
        receipt = simulator.command("reinstate_member", "r", agent=who)
        simulator.post("again")
        simulator.run()
        assert simulator.state.roster.managers[0].health.state == "healthy"
        assert simulator.turns[-1].chosen_by == "manager"
        assert receipt.epoch == simulator.state.roster.epoch


def test_fallback_manager_cannot_be_a_member() -> None:
    rules = DynamicConfig(manager_agent_id=AgentId("a5"), fallback_manager_ids=(AgentId("a6"),))
    simulator = CoreSimulator.loaded(rules=rules)
    assert "'Agent6' manages this conversation" in refusal_reason(simulator, "add_member", agent="a6")
    assert "'Agent6' manages this conversation" in refusal_reason(simulator, "add_member", agent="a6", state="standby")


def test_in_flight_policy_of_removal() -> None:
    simulator = CoreSimulator.loaded(settings=GroupSettings(in_flight="discard"))
    simulator.command("remove_member", "1", agent="a0")
    simulator.command("remove_member", "2", agent="a1", in_flight="cancel")
    simulator.command("replace_member", "3", agent="a2", replacement="a4")
    assert [getattr(change, "in_flight", None) for change in simulator.state.pending_changes] == [
        "discard",
        "cancel",
        "discard",
    ]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("remove_member", {"agent": "a0", "in_flight": "finish"}), None, None),
        (("remove_member", {"agent": "a0", "in_flight": "discard"}), None, "discard"),
        (("remove_member", {"agent": "a0", "in_flight": "cancel"}), None, "cancel"),
        (("remove_member", {"agent": "a1", "in_flight": "cancel"}), None, None),
        (("replace_member", {"agent": "a0", "replacement": "a5", "in_flight": "discard"}), None, "discard"),
        (("mute_member", {"agent": "a0"}), ("remove_member", {"agent": "a0", "in_flight": "cancel"}), "cancel"),
    ],
)
def test_only_current_turn_is_revoked(
    first: tuple[str, dict[str, object]], second: tuple[str, dict[str, object]] | None, expected: str | None
) -> None:
    simulator = CoreSimulator.loaded()
    simulator.post("m")
    while not (simulator.state.round and simulator.state.round.chosen):
        simulator.half_step()
    for number, (name, fields) in enumerate(filter(None, (first, second))):
        simulator.command(name, f"c{number}", **fields)
    assert in_flight_policy(simulator.state) == expected
    simulator.half_step()
    assert simulator.turns[0].outcome == {"discard": "discarded", "cancel": "cancelled"}.get(expected or "", "spoke")
    assert in_flight_policy(simulator.state) is None


@pytest.mark.parametrize("command", ["remove_member", "mute_member"])
def test_receipt_warns_without_active_member(command: str) -> None:
    simulator = CoreSimulator.loaded(members=(ref(0), ref(1), ref(2)), standby=(Standby(agent_id=ref(2).agent_id),))
    assert "warning" not in simulator.command(command, "first", agent="a0").detail
    last = simulator.command(command, "second", agent="a1").detail
    assert last.startswith("warning: no active member remains, so nobody can speak; at the next turn boundary: ")
    assert "warning" not in simulator.command("remove_member", "third", agent="a2").detail, "it was warned of before"

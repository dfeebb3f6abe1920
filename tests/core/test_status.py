"""Status of a conversation; other programs rely on the names of its fields."""

from tertulia.core.decisions import Finish, WaitForInput
from tertulia.core.group import DynamicConfig, GroupSettings, Standby
from tertulia.core.status import build_status
from tests.core.simulator import CoreSimulator, ref
from tests.core.strategies import DEPUTY, MANAGER

PROMISED = {
    "conversation_id", "group_id", "phase", "round", "turn", "roster", "last_speaker", "usage", "stop_reason",
    "pending", "rejected",
}  # fmt: skip


def test_status_has_every_public_field() -> None:
    simulator = CoreSimulator.loaded()
    shown = build_status(simulator.state).model_dump(mode="json")
    assert shown.keys() >= PROMISED
    assert shown["roster"] == {
        "epoch": 1,
        "members": [
            {
                "agent_id": f"a{n}",
                "name": f"Agent{n}",
                "state": "active",
                "health": {"state": "healthy", "reason": "", "since_turn": 0, "since": None},
                "in_place_of": None,
                "total_tokens": 0,
            }
            for n in range(3)
        ],
        "managers": [],
    }
    assert shown["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "model_calls": 0}
    assert shown["pending"] == {"messages": 0, "commands": 0}
    assert (shown["last_speaker"], shown["stop_reason"]) == (None, None)


def test_status_follows_conversation() -> None:
    simulator = CoreSimulator.loaded()
    simulator.post("m")
    simulator.turn()
    simulator.half_step()
    simulator.post("n")
    simulator.command("mute_member", "x", agent="a2")
    now = build_status(simulator.state)
    assert (now.phase, now.round, now.turn, now.messages) == ("executing", 1, 1, 2)
    assert (now.speaking, now.speaking_because) == ("Agent1", "next in rotation after Agent0")
    assert (now.last_speaker, now.pending.messages, now.pending.commands) == ("Agent0", 1, 1)
    simulator.run()
    later = build_status(simulator.state)
    assert (later.phase, later.stop_reason, later.speaking) == ("ready", "max_turns", None)
    assert later.usage.total_tokens == 3 * later.turn
    assert later.roster.members[2].state == "muted"


def test_status_shows_pause_reason() -> None:
    simulator = CoreSimulator.loaded()
    simulator.post("m")
    simulator.turn()
    simulator.command("pause", "p", reason="lunch")
    simulator.run()
    assert (build_status(simulator.state).phase, build_status(simulator.state).paused_because) == ("paused", "lunch")


def test_status_shows_health_and_stand_ins() -> None:
    simulator = CoreSimulator.loaded(
        members=tuple(ref(number) for number in range(4)),
        standby=(Standby(agent_id=ref(3).agent_id),),
        rules=DynamicConfig(manager_agent_id=MANAGER, fallback_manager_ids=(DEPUTY,), max_turns=9),
        settings=GroupSettings(isolate_after_failures=1, cool_down_turns=None),
        down=lambda turn: {"a1", MANAGER},
    )
    simulator.post("m")
    simulator.run()
    shown = build_status(simulator.state)
    failed, standby = shown.roster.members[1], shown.roster.members[3]
    assert (failed.state, failed.health.state, failed.health.reason) == ("isolated", "isolated", "the model is down")
    assert failed.health.since is not None
    assert (standby.state, standby.in_place_of, standby.health.state) == ("active", "Agent1", "healthy")
    assert [(one.name, one.health.state) for one in shown.roster.managers] == [
        ("Manager", "isolated"),
        ("Deputy", "healthy"),
    ]
    assert shown.roster.managers[0].health.reason == "nobody was chosen"
    assert sum(one.total_tokens for one in shown.roster.members) == 3 * shown.turn


def test_status_shows_outage_and_next_probe() -> None:
    simulator = CoreSimulator.loaded(down=lambda turn: {"a0", "a1", "a2"})
    simulator.post("m")
    rest = simulator.run()
    shown = build_status(simulator.state)
    assert (shown.phase, shown.paused_because) == ("paused", "no_available_participants")
    assert rest == WaitForInput(phase="paused", until=shown.next_probe_at)
    simulator.down = lambda turn: ()
    simulator.settle()
    shown = build_status(simulator.state)
    assert (shown.phase, shown.paused_because, shown.next_probe_at) == ("ready", None, None)
    assert shown.seconds > 0


def test_status_shows_every_phase() -> None:
    """A query is answered while a decision is executed and sees a consistent state."""
    simulator = CoreSimulator(close_after_round=True)
    seen = [simulator.state.phase]
    simulator.post("m")
    while seen[-1] != "closed":
        simulator.half_step()
        if simulator.current_decision or isinstance(simulator.decisions[-1], Finish):
            seen += [simulator.state.phase] if simulator.state.phase != seen[-1] else []
    assert seen == ["initializing", "loading", "recording", "executing", "terminating", "closed"]


def test_recent_turns_are_bounded() -> None:
    simulator = CoreSimulator.loaded()
    for number in range(10):
        simulator.post(f"m{number}")
        simulator.run()
    assert [brief.turn for brief in simulator.state.recent_turns] == list(range(19, 31))

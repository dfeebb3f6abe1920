"""What a conversation tells of itself; other programs rely on the names of these fields."""

from tertulia.core.decisions import Finish, WaitForInput
from tertulia.core.group import DynamicConfig, GroupSettings, Standby
from tertulia.core.status import build_status
from tests.unit.strategies import DEPUTY, MANAGER
from tests.unit.world import World, ref

PROMISED = {
    "conversation_id", "group_id", "phase", "round", "turn", "roster", "last_speaker", "usage", "stop_reason",
    "pending", "rejected",
}  # fmt: skip


def test_the_status_has_every_field_that_other_programs_rely_on() -> None:
    world = World.loaded()
    shown = build_status(world.state).model_dump(mode="json")
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


def test_the_status_follows_the_conversation() -> None:
    world = World.loaded()
    world.post("m")
    world.turn()
    world.half_step()
    world.post("n")
    world.command("mute_member", "x", agent="a2")
    now = build_status(world.state)
    assert (now.phase, now.round, now.turn, now.messages) == ("executing", 1, 1, 2)
    assert (now.speaking, now.speaking_because) == ("Agent1", "next in rotation after Agent0")
    assert (now.last_speaker, now.pending.messages, now.pending.commands) == ("Agent0", 1, 1)
    world.run()
    later = build_status(world.state)
    assert (later.phase, later.stop_reason, later.speaking) == ("ready", "max_turns", None)
    assert later.usage.total_tokens == 3 * later.turn
    assert later.roster.members[2].state == "muted"


def test_a_pause_and_its_reason_are_shown() -> None:
    world = World.loaded()
    world.post("m")
    world.turn()
    world.command("pause", "p", reason="lunch")
    world.run()
    assert (build_status(world.state).phase, build_status(world.state).paused_because) == ("paused", "lunch")


def test_health_its_reason_and_who_stands_in_for_whom_are_shown() -> None:
    world = World.loaded(
        members=tuple(ref(number) for number in range(4)),
        standby=(Standby(agent_id=ref(3).agent_id),),
        rules=DynamicConfig(manager_agent_id=MANAGER, fallback_manager_ids=(DEPUTY,), max_turns=9),
        settings=GroupSettings(isolate_after_failures=1, cool_down_turns=None),
        down=lambda turn: {"a1", MANAGER},
    )
    world.post("m")
    world.run()
    shown = build_status(world.state)
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


def test_an_outage_is_a_pause_with_its_reason_and_the_time_of_the_next_try() -> None:
    world = World.loaded(down=lambda turn: {"a0", "a1", "a2"})
    world.post("m")
    rest = world.run()
    shown = build_status(world.state)
    assert (shown.phase, shown.paused_because) == ("paused", "no_available_participants")
    assert rest == WaitForInput(phase="paused", until=shown.next_probe_at)
    world.down = lambda turn: ()
    world.settle()
    shown = build_status(world.state)
    assert (shown.phase, shown.paused_because, shown.next_probe_at) == ("ready", None, None)
    assert shown.seconds > 0


def test_every_phase_of_the_way_is_shown() -> None:
    """A query is answered while something is under way, and sees no state between two steps."""
    world = World(close_after_round=True)
    seen = [world.state.phase]
    world.post("m")
    while seen[-1] != "closed":
        world.half_step()
        if world.under_way or isinstance(world.decisions[-1], Finish):
            seen += [world.state.phase] if world.state.phase != seen[-1] else []
    assert seen == ["initializing", "loading", "recording", "executing", "terminating", "closed"]


def test_no_more_than_the_last_turns_are_remembered() -> None:
    world = World.loaded()
    for number in range(10):
        world.post(f"m{number}")
        world.run()
    assert [brief.turn for brief in world.state.recent_turns] == list(range(19, 31))

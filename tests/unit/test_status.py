"""What a conversation tells of itself; other programs rely on the names of these fields."""

from groups.status import status_of
from tests.unit.world import World

PROMISED = {
    "conversation_id", "group_id", "phase", "round", "turn", "roster", "last_speaker", "usage", "stop_reason",
    "pending", "rejected",
}  # fmt: skip


def test_the_status_has_every_field_that_other_programs_rely_on() -> None:
    world = World.loaded()
    shown = status_of(world.state).model_dump(mode="json")
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
    now = status_of(world.state)
    assert (now.phase, now.round, now.turn, now.messages) == ("executing", 1, 1, 2)
    assert (now.speaking, now.speaking_because) == ("Agent1", "next in rotation after Agent0")
    assert (now.last_speaker, now.pending.messages, now.pending.commands) == ("Agent0", 1, 1)
    world.run()
    later = status_of(world.state)
    assert (later.phase, later.stop_reason, later.speaking) == ("ready", "max_turns", None)
    assert later.usage.total_tokens == 3 * later.turn
    assert later.roster.members[2].state == "muted"


def test_a_pause_and_its_reason_are_shown() -> None:
    world = World.loaded()
    world.post("m")
    world.turn()
    world.command("pause", "p", reason="lunch")
    world.run()
    assert (status_of(world.state).phase, status_of(world.state).paused_because) == ("paused", "lunch")


def test_every_phase_of_the_way_is_shown() -> None:
    world = World(close_after_round=True)
    seen = [world.state.phase]
    world.post("m")
    while world.state.phase != "closed":
        world.half_step()
        if world.state.phase != seen[-1]:
            seen.append(world.state.phase)
    turn = ["executing", "ready"]
    assert seen == ["initializing", "loading", "ready", "recording", "ready", *turn * 3, "terminating", "closed"]


def test_no_more_than_the_last_turns_are_remembered() -> None:
    world = World.loaded()
    for number in range(10):
        world.post(f"m{number}")
        world.run()
    assert [brief.turn for brief in world.state.recent_turns] == list(range(19, 31))

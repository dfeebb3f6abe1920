"""Law of the door: what it refuses changes nothing, what it accepts cannot fail later, and an id counts once.

Each command of these tests goes through `World.send`, which compares the state before and after.
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
from tertulia.core.pending_changes import expected_roster, in_flight_policy
from tertulia.core.roster import MemberRef
from tertulia.core.roster_changes import MemberMuted
from tertulia.core.state import MAX_PENDING_CHANGES, RECENT_REJECTIONS
from tertulia.core.status import build_status
from tests.unit.strategies import ALL_BUT_STOP, Order, TimelineItem, happenings, makers, orders, play
from tests.unit.world import World, ref


def refused(world: World, name: str, **fields: object) -> str:
    """Why the door refuses this command."""
    with pytest.raises(CommandRefused) as refusal:
        world.command(name, "refused", **fields)
    assert "refused" not in world.state.receipts
    return str(refusal.value)


@given(makers(), happenings(ALL_BUT_STOP), orders(ALL_BUT_STOP))
def test_a_repeated_id_gets_the_first_receipt_whatever_happened_since(
    make: Callable[[], World], happened: list[TimelineItem], order: Order
) -> None:
    world = make()
    try:
        first = world.send(order.name, order.command, order.command_id)
    except CommandRefused:
        return
    for happening in happened:
        play(world, happening)
    assert world.send(order.name, order.command, order.command_id) == first


@given(makers(), happenings(tuple(COMMANDS)))
def test_the_promised_roster_is_the_one_that_comes(make: Callable[[], World], happened: list[TimelineItem]) -> None:
    world = make()
    for happening in happened:
        play(world, happening)
    promised = [(one.agent_id, one.state) for one in expected_roster(world.state).members]
    world.run()
    spent = {one.member.agent_id for one in world.changes if isinstance(one, MemberMuted) and one.reason}
    assert [
        (one.agent_id, one.state if one.agent_id not in spent else state)
        for one, (_, state) in zip(world.state.roster.members, promised, strict=True)
    ] == promised


def test_a_repeated_message_id_is_one_message() -> None:
    world = World.loaded()
    first = world.post("m")
    assert world.post("m", text="something else") == first
    world.run()
    assert world.post("m") == first
    assert world.recorded() == ["m"]


def test_an_id_stays_used_after_the_conversation_has_closed() -> None:
    world = World.loaded()
    receipt = world.command("stop", "s")
    world.run()
    assert world.command("stop", "s") == receipt
    with pytest.raises(ConversationClosed):
        world.command("stop", "another")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("post_message", "pause", "resume", "stop")])
def test_nothing_that_needs_the_group_is_taken_before_the_group_is_loaded(name: str) -> None:
    fields: dict[str, dict[str, object]] = {
        "reorder_members": {"agents": ["a0"]},
        "replace_member": {"agent": "a0", "replacement": "a1"},
        "update_settings": {"intake": "queue"},
    }
    world = World()
    for _ in range(2):
        assert "loading" in refused(world, name, **fields.get(name, {"agent": "a0"}))
        world.half_step()
    world.run()
    assert world.state.settings.intake == "interject"


def test_messages_are_taken_before_the_group_is_loaded() -> None:
    world = World()
    world.post("early")
    world.half_step()
    world.post("while it loads")
    world.run()
    assert world.recorded() == ["early", "while it loads"]


@pytest.mark.parametrize(
    ("name", "fields", "says"),
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
        ("update_settings", {"budgets": [{"tokens": 0}]}, "budgets.0.tokens: Input should be greater than 0"),
        ("update_settings", {"budgets": [{}]}, "a budget limits at least one of tokens"),
        ("update_settings", {"on_failure": ["pray"]}, "on_failure.0: "),
        ("resume", {}, "is not paused"),
        ("update_settings", {}, "no setting is named; there are allow"),
        ("update_settings", {"manager_type": "round_robin"}, "manager_type: no such setting"),
        ("update_settings", {"manager_agent_id": "a1"}, "manager_agent_id: no such setting"),
        ("update_settings", {"max_turn": 3}, "max_turn: no such setting; there are"),
        ("update_settings", {"max_turns": 0}, "max_turns: Input should be greater than 0"),
        ("update_settings", {"max_turns": "many", "intake": "queue"}, "max_turns: Input should be a valid integer"),
        ("update_settings", {"preview_chars": -1}, "preview_chars: "),
        ("update_settings", {"intake": "shout"}, "intake: "),
        ("update_settings", {"termination": {"type": "time_budget", "seconds": "inf"}}, "finite"),
        ("post_message", {"text": "hi", "sender": "agent1"}, "sender: 'agent1' is a member"),
        ("post_message", {"text": "x" * 101}, "text: 101 characters, but max_message_chars is 100"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(name: str, fields: dict[str, object], says: str) -> None:
    rules = DynamicConfig(manager_agent_id=AgentId("manager"))
    world = World.loaded(rules=rules, settings=GroupSettings(max_message_chars=100))
    assert says in refused(world, name, **fields)


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("post_message", {}, "text: Field required"),
        ("post_message", {"text": "   "}, "text: String should have at least 1 character"),
        ("post_message", {"text": "a\0b"}, "text: no NUL characters"),
        ("post_message", {"text": "a\ud800b"}, "text: Input should be a valid string"),
        ("post_message", {"text": "hi", "sender": "a:b"}, "sender: a name has no colon"),
        ("post_message", {"text": "hi", "sender": "a\nb"}, "sender: a name has no colon"),
        ("post_message", {"text": "hi", "loud": True}, "loud: unknown field"),
        ("post_message", {"text": "hi", "command_id": "x" * 201}, "command_id: "),
        ("add_member", {}, "agent: Field required"),
        ("add_member", {"agent": "a1", "position": -1}, "position: "),
        ("add_member", {"agent": "a1", "state": "isolated"}, "state: "),
        ("add_member", {"agent": "a1", "stands_in_for": "a0"}, "stands_in_for: only a member with state 'standby'"),
        ("remove_member", {"agent": "a1", "in_flight": "forget"}, "in_flight: "),
        ("add_member", {"agent": "a1", "catch_up": "last:0"}, "catch_up: "),
        ("add_member", {"agent": "a\0"}, "agent: no NUL characters"),
        ("reorder_members", {"agents": []}, "agents: "),
        ("stop", {"reason": "a\0b"}, "reason: no NUL characters"),
        ("pause", {"until": "tomorrow"}, "until: unknown field"),
    ],
)
def test_a_command_that_is_written_wrong_names_the_field(name: str, fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        COMMANDS[name].model_validate(fields)
    assert says in format_validation_error(error.value)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "update_settings"])
def test_every_command_but_the_flat_settings_forbids_unknown_fields(name: str) -> None:
    with pytest.raises(ValidationError) as error:
        COMMANDS[name].model_validate({"text": "x", "agent": "a", "agents": ["a"], "replacement": "b", "bogus": 1})
    assert "bogus: unknown field" in format_validation_error(error.value)


def test_members_are_named_by_id_or_by_name_in_any_case() -> None:
    world = World.loaded()
    world.command("mute_member", "1", agent="AGENT1")
    world.command("remove_member", "2", agent="a2")
    world.command("add_member", "3", agent="a4", position=0)
    world.command("replace_member", "4", agent="agent0", replacement="a5")
    world.run()
    assert [(one.agent_id, one.state) for one in world.state.roster.members] == [
        ("a4", "active"),
        ("a5", "active"),
        ("a1", "muted"),
    ]


def test_old_spellings_of_the_fields_are_understood() -> None:
    assert newcomer_of(COMMANDS["add_member"].model_validate({"agent_id": "a1"})) == "a1"
    replacing = COMMANDS["replace_member"].model_validate({"agent_id": "a1", "replacement_id": "a2"})
    assert newcomer_of(replacing) == "a2"
    assert newcomer_of(COMMANDS["remove_member"].model_validate({"agent_id": "a1"})) is None


def test_changes_are_checked_against_the_roster_as_it_will_be() -> None:
    world = World.loaded()
    world.command("remove_member", "1", agent="a0")
    assert "is not a member" in refused(world, "mute_member", agent="a0")
    world.command("add_member", "2", agent="a4")
    receipt = world.command("mute_member", "3", agent="a4")
    assert receipt.epoch == 4
    assert "sender: 'Agent4' is a member" in refused(world, "post_message", text="hi", sender="Agent4")
    world.run()
    assert (world.state.roster.epoch, [one.agent_id for one in world.state.roster.active_members()]) == (
        4,
        ["a1", "a2"],
    )


def test_a_namesake_of_a_member_cannot_join() -> None:
    world = World.loaded()
    command = COMMANDS["add_member"].model_validate({"agent": "other"})
    namesake = MemberRef(agent_id=AgentId("other"), name="AGENT1")
    with pytest.raises(CommandRefused, match="already bears the name 'AGENT1'"):
        admit(world.state, "add_member", command, CommandId("x"), joining=namesake)


def test_the_manager_cannot_take_part() -> None:
    world = World.loaded(rules=DynamicConfig(manager_agent_id=AgentId("a5")))
    assert "'Agent5' manages this conversation" in refused(world, "add_member", agent="a5")
    assert "'Agent5' manages this conversation" in refused(world, "replace_member", agent="a0", replacement="a5")


def test_a_full_roster_takes_nobody_more() -> None:
    world = World.loaded(members=tuple(ref(number) for number in range(MAX_MEMBERS)))
    assert f"{MAX_MEMBERS} members at most" in refused(world, "add_member", agent="a200")
    world.command("replace_member", "r", agent="a0", replacement="a200")
    world.run()
    assert len(world.state.roster.members) == MAX_MEMBERS


def test_more_messages_than_may_wait_are_refused_until_some_are_recorded() -> None:
    world = World.loaded(settings=GroupSettings(max_pending_messages=2))
    world.post("1")
    world.post("2")
    assert "max_pending_messages" in refused(world, "post_message", text="3")
    world.run()
    world.post("3")
    world.run()
    assert world.recorded() == ["1", "2", "3"]


def test_more_changes_than_may_wait_are_refused() -> None:
    world = World.loaded()
    for number in range(MAX_PENDING_CHANGES):
        world.command("unmute_member" if number % 2 else "mute_member", f"c{number}", agent="a0")
    assert f"{MAX_PENDING_CHANGES} changes" in refused(world, "mute_member", agent="a0")
    world.run()
    world.command("mute_member", "later", agent="a0")


def test_a_settings_update_changes_what_it_names_and_nothing_else() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=4), settings=GroupSettings(preview_chars=7))
    world.command("update_settings", "u", max_turns=2, intake="batch", termination_token=None)
    assert world.state.manager_config == RoundRobinConfig(max_turns=2, termination_token=None)
    assert world.state.settings == GroupSettings(preview_chars=7, intake="batch")
    world.post("m")
    world.run()
    assert len(world.turns) == 2


def test_rejected_signals_are_shown_the_newest_last_and_no_more_than_a_few() -> None:
    world = World.loaded()
    state = world.state
    for number in range(RECENT_REJECTIONS + 5):
        state = record_rejection(state, "add_member", f"id-{number}", "no such agent: 'x'")
    shown = build_status(state).rejected
    assert [one.command_id for one in shown] == [f"id-{number}" for number in range(5, RECENT_REJECTIONS + 5)]
    assert shown[0].reason == "no such agent: 'x'"
    assert state.model_copy(update={"rejected": ()}) == world.state


@given(st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text))
def test_words_enter_the_transcript_as_they_were_posted(text: str) -> None:
    world = World.loaded()
    world.send("post_message", PostMessage(text=text), "m")
    world.run()
    assert world.transcript[0].text in text
    assert world.transcript[0].text.strip() == text.strip()


@pytest.mark.parametrize("name", ["pause", "mute_member", "post_message"])
def test_the_conversations_own_ids_are_not_an_operators(name: str) -> None:
    world = World.loaded()
    fields = {"mute_member": {"agent": "a0"}, "post_message": {"text": "x"}}.get(name, {})
    with pytest.raises(CommandRefused, match="command_id: ids that begin with 'auto:'"):
        world.command(name, "auto:2", **fields)


def isolated(world: World, *agents: str) -> World:
    """The world with these members' models failing until they are isolated."""
    world.command("update_settings", "strict", isolate_after_failures=1, cool_down_turns=None)
    world.down = lambda turn: agents
    world.post("m")
    world.run()
    world.down = lambda turn: ()
    return world


def test_an_isolated_member_is_not_unmuted_but_reinstated() -> None:
    world = isolated(World.loaded(), "a1")
    says = refused(world, "unmute_member", agent="a1")
    assert says == "'Agent1' is not muted (its state is isolated); reinstate_member ends its isolation"
    world.command("reinstate_member", "r", agent="agent1")
    world.post("again")
    world.run()
    assert world.speakers()[-3:] == ["a0", "a1", "a2"]
    assert world.state.roster.get("a1").effective_state == "active"


def test_one_that_is_muted_while_it_is_isolated_stays_isolated_when_it_is_unmuted() -> None:
    world = isolated(World.loaded(), "a1")
    world.command("mute_member", "m1", agent="a1")
    world.run()
    assert world.state.roster.get("a1").effective_state == "muted"
    world.command("unmute_member", "u1", agent="a1")
    world.run()
    assert world.state.roster.get("a1").effective_state == "isolated"


def test_a_manager_is_reinstated_by_id_or_name() -> None:
    for who in ("manager", "MANAGER"):
        world = isolated(World.loaded(rules=DynamicConfig(manager_agent_id=AgentId("manager"), max_turns=2)), "manager")
        assert build_status(world.state).roster.managers[0].health.state == "isolated"
        receipt = world.command("reinstate_member", "r", agent=who)
        world.post("again")
        world.run()
        assert world.state.roster.managers[0].health.state == "healthy"
        assert world.turns[-1].chosen_by == "manager"
        assert receipt.epoch == world.state.roster.epoch


def test_a_fallback_manager_cannot_take_part() -> None:
    rules = DynamicConfig(manager_agent_id=AgentId("a5"), fallback_manager_ids=(AgentId("a6"),))
    world = World.loaded(rules=rules)
    assert "'Agent6' manages this conversation" in refused(world, "add_member", agent="a6")
    assert "'Agent6' manages this conversation" in refused(world, "add_member", agent="a6", state="standby")


def test_the_policy_of_a_removal_is_the_commands_or_else_the_groups() -> None:
    world = World.loaded(settings=GroupSettings(in_flight="discard"))
    world.command("remove_member", "1", agent="a0")
    world.command("remove_member", "2", agent="a1", in_flight="cancel")
    world.command("replace_member", "3", agent="a2", replacement="a4")
    assert [getattr(change, "in_flight", None) for change in world.state.pending_changes] == [
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
def test_only_the_present_speakers_turn_is_revoked(
    first: tuple[str, dict[str, object]], second: tuple[str, dict[str, object]] | None, expected: str | None
) -> None:
    world = World.loaded()
    world.post("m")
    while not (world.state.round and world.state.round.chosen):
        world.half_step()
    for number, (name, fields) in enumerate(filter(None, (first, second))):
        world.command(name, f"c{number}", **fields)
    assert in_flight_policy(world.state) == expected
    world.half_step()
    assert world.turns[0].outcome == {"discard": "discarded", "cancel": "cancelled"}.get(expected or "", "spoke")
    assert in_flight_policy(world.state) is None

"""What crosses a wire comes back as it went: events, decisions, commands, state, and the activities' arguments."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from tertulia.core import activity_contracts, commands, decisions, events, roster, selection, state, status, termination
from tertulia.core.base import Definition, Record
from tertulia.core.commands import AnyCommand
from tertulia.core.events import AnyEvent
from tertulia.core.group import Group, GroupSettings, ManagerConfig
from tertulia.core.state import ConversationState
from tertulia.core.status import build_status
from tertulia.core.usage import Usage
from tests.unit.strategies import TimelineItem, conditions, happenings, makers, play, rules
from tests.unit.strategies import settings as group_settings
from tests.unit.world import World

Maker = Callable[[], World]


def models(*modules: Any) -> list[type[BaseModel]]:
    """The models that these modules define."""
    found = [
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, BaseModel) and one.__module__ == module.__name__
    ]
    assert found
    return found


def returned(one: BaseModel) -> BaseModel:
    """The value after a journey as JSON."""
    return type(one).model_validate_json(one.model_dump_json())


@given(makers(), happenings(tuple(commands.COMMANDS)))
def test_states_decisions_and_events_survive_their_journey(make: Maker, happened: list[TimelineItem]) -> None:
    world = make()
    for happening in happened:
        play(world, happening)
    for one in (world.state, build_status(world.state), *world.decisions, *world.turns, *world.receipts):
        assert returned(one) == one


@given(st.sampled_from(get_args(AnyEvent)), st.data())
def test_every_event_survives_its_journey(kind: type[events.Event], data: st.DataObject) -> None:
    at = st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    known = {"at": at, "manager_config": rules, "settings": group_settings, "usage": st.builds(Usage)}
    fields = {name: known[name] for name in kind.model_fields if name in known}
    event = data.draw(st.builds(kind, **fields))
    assert returned(event) == event


@given(conditions)
def test_conditions_survive_their_journey(condition: termination.Condition) -> None:
    adapter: TypeAdapter[termination.Condition] = TypeAdapter(termination.Condition)
    assert adapter.validate_json(adapter.dump_json(condition)) == condition


@given(rules)
def test_manager_rules_survive_their_journey(config: ManagerConfig) -> None:
    group = Group.model_validate({"id": "g", "name": "x", "manager_config": config})
    assert returned(group) == group


@pytest.mark.parametrize(
    "command",
    [
        commands.PostMessage(command_id="c", text="hi", sender="Ann"),
        commands.AddMember.model_validate({"agent": "a", "position": 2, "state": "muted", "catch_up": "last:4"}),
        commands.RemoveMember.model_validate({"agent": "a"}),
        commands.ReplaceMember.model_validate({"agent": "a", "replacement": "b", "catch_up": "none"}),
        commands.ReorderMembers.model_validate({"agents": ["a", "b"]}),
        commands.MuteMember.model_validate({"agent": "a"}),
        commands.UnmuteMember.model_validate({"agent": "a"}),
        commands.UpdateSettings.model_validate({"max_turns": 3, "intake": "queue"}),
        commands.Pause(reason="x"),
        commands.Resume(),
        commands.Stop(reason="x"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_commands_survive_their_journey(command: AnyCommand) -> None:
    assert returned(command) == command


def test_every_command_is_on_the_list() -> None:
    kinds = {one for one in models(commands) if issubclass(one, commands.Command)} - {commands.Command}
    assert set(commands.COMMANDS.values()) == kinds


@pytest.mark.parametrize(
    "kind",
    models(commands, decisions, events, roster, selection, state, status, termination, activity_contracts),
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_all_that_crosses_a_wire_is_frozen_and_typed(kind: type[BaseModel]) -> None:
    assert issubclass(kind, Record | Definition)
    assert kind.model_config.get("frozen")
    assert all(field.annotation not in (Any, None) for field in kind.model_fields.values())


@pytest.mark.parametrize("kind", models(activity_contracts, decisions, events, state), ids=lambda kind: kind.__name__)
def test_records_of_a_newer_version_can_be_read(kind: type[BaseModel]) -> None:
    assert kind.model_config.get("extra") == "ignore"


def test_a_state_of_a_newer_version_is_read_without_its_new_fields() -> None:
    newer = ConversationState(group="g").model_dump(mode="json") | {"of_tomorrow": 1}
    assert ConversationState.model_validate(newer) == ConversationState(group="g")


def test_a_state_of_the_first_version_can_be_read() -> None:
    """What a starter writes, and what running conversations continue as new with: every further field has a default."""
    assert ConversationState.model_validate({"group": "g"}) == ConversationState(group="g")
    required = {name for name, field in ConversationState.model_fields.items() if field.is_required()}
    assert required == {"group"}


def test_a_records_fields_cannot_be_set() -> None:
    one = ConversationState(group="g")
    with pytest.raises(ValidationError, match="frozen"):
        setattr(one, "group", "h")  # noqa: B010
    with pytest.raises(ValidationError, match="frozen"):
        setattr(GroupSettings(), "intake", "queue")  # noqa: B010


def test_a_moment_keeps_its_zone() -> None:
    closed = events.RoundClosed(at=datetime(2026, 1, 1, tzinfo=UTC), reason="x", explanation="y")
    back = events.RoundClosed.model_validate_json(closed.model_dump_json())
    assert back.at.tzinfo is not None


def test_the_union_of_events_is_complete() -> None:
    assert {one for one in models(events) if one.__base__ is events.Event} == set(get_args(AnyEvent))

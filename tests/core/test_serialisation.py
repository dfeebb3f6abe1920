"""Values survive serialisation: events, decisions, commands, states and activity arguments."""

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
from tests.core.simulator import CoreSimulator
from tests.core.strategies import Action, action_lists, conditions, perform_action, rules, simulator_factories
from tests.core.strategies import settings as group_settings

SimulatorFactory = Callable[[], CoreSimulator]


def models_of(*modules: Any) -> list[type[BaseModel]]:
    """Return the models that these modules define."""
    found = [
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, BaseModel) and one.__module__ == module.__name__
    ]
    assert found
    return found


def round_trip(one: BaseModel) -> BaseModel:
    """Return the value after a round trip through JSON."""
    return type(one).model_validate_json(one.model_dump_json())


@given(simulator_factories(), action_lists(tuple(commands.COMMANDS)))
def test_state_and_decisions_round_trip(make: SimulatorFactory, actions: list[Action]) -> None:
    simulator = make()
    for action in actions:
        perform_action(simulator, action)
    for one in (
        simulator.state,
        build_status(simulator.state),
        *simulator.decisions,
        *simulator.turns,
        *simulator.receipts,
    ):
        assert round_trip(one) == one


@given(st.sampled_from(get_args(AnyEvent)), st.data())
def test_events_round_trip_as_json(kind: type[events.Event], data: st.DataObject) -> None:
    at = st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    known = {"at": at, "manager_config": rules, "settings": group_settings, "usage": st.builds(Usage)}
    fields = {name: known[name] for name in kind.model_fields if name in known}
    event = data.draw(st.builds(kind, **fields))
    assert round_trip(event) == event


@given(conditions)
def test_conditions_round_trip_as_json(condition: termination.Condition) -> None:
    adapter: TypeAdapter[termination.Condition] = TypeAdapter(termination.Condition)
    assert adapter.validate_json(adapter.dump_json(condition)) == condition


@given(rules)
def test_manager_config_round_trip(config: ManagerConfig) -> None:
    group = Group.model_validate({"id": "g", "name": "x", "manager_config": config})
    assert round_trip(group) == group


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
def test_commands_round_trip_as_json(command: AnyCommand) -> None:
    assert round_trip(command) == command


def test_commands_table_is_complete() -> None:
    kinds = {one for one in models_of(commands) if issubclass(one, commands.Command)} - {commands.Command}
    assert set(commands.COMMANDS.values()) == kinds


@pytest.mark.parametrize(
    "kind",
    models_of(commands, decisions, events, roster, selection, state, status, termination, activity_contracts),
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_wire_models_are_frozen_and_typed(kind: type[BaseModel]) -> None:
    assert issubclass(kind, Record | Definition)
    assert kind.model_config.get("frozen")
    assert all(field.annotation not in (Any, None) for field in kind.model_fields.values())


@pytest.mark.parametrize(
    "kind", models_of(activity_contracts, decisions, events, state), ids=lambda kind: kind.__name__
)
def test_records_ignore_newer_fields(kind: type[BaseModel]) -> None:
    assert kind.model_config.get("extra") == "ignore"


def test_state_ignores_newer_fields() -> None:
    newer = ConversationState(group="g").model_dump(mode="json") | {"of_tomorrow": 1}
    assert ConversationState.model_validate(newer) == ConversationState(group="g")


def test_state_of_first_version_is_readable() -> None:
    """Old clients and running conversations write states without newer fields: each of them has a default."""
    assert ConversationState.model_validate({"group": "g"}) == ConversationState(group="g")
    required = {name for name, field in ConversationState.model_fields.items() if field.is_required()}
    assert required == {"group"}


def test_record_fields_are_frozen() -> None:
    one = ConversationState(group="g")
    with pytest.raises(ValidationError, match="frozen"):
        setattr(one, "group", "h")  # noqa: B010
    with pytest.raises(ValidationError, match="frozen"):
        setattr(GroupSettings(), "intake", "queue")  # noqa: B010


def test_timestamps_keep_their_zone() -> None:
    closed = events.RoundClosed(at=datetime(2026, 1, 1, tzinfo=UTC), reason="x", explanation="y")
    back = events.RoundClosed.model_validate_json(closed.model_dump_json())
    assert back.at.tzinfo is not None


def test_event_union_is_complete() -> None:
    assert {one for one in models_of(events) if one.__base__ is events.Event} == set(get_args(AnyEvent))

"""Definitions of agents and groups: invalid input is refused with the name of the field."""

import pytest
from pydantic import ValidationError

from tertulia.core.agents import Agent, ModelSettings
from tertulia.core.base import Definition, format_validation_error
from tertulia.core.blocks import MemoryBlock
from tertulia.core.errors import InvalidDefinition, NotFound, TertuliaError
from tertulia.core.group import MAX_MEMBERS, DynamicConfig, Group, GroupSettings, catch_up_start, check_members
from tertulia.core.ids import AgentId, GroupId


def agent(agent_id: str, name: str | None = None) -> Agent:
    return Agent(id=AgentId(agent_id), name=name or agent_id)


def group(*agent_ids: str, manager: str | None = None) -> Group:
    config = {"manager_config": DynamicConfig(manager_agent_id=AgentId(manager))} if manager else {}
    return Group.model_validate({"id": "g", "name": "The group", "agent_ids": agent_ids, **config})


def validation_error(kind: type[Definition], **fields: object) -> str:
    with pytest.raises(ValidationError) as error:
        kind.model_validate(fields)
    return format_validation_error(error.value)


GROUP = {"id": "g", "name": "The group"}
AGENT = {"id": "a", "name": "Velma"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bogus": 1}, "bogus: unknown field"),
        ({"name": "a:b"}, "name: colons and control characters are not allowed"),
        ({"name": "a\nb"}, "name: colons and control characters are not allowed"),
        ({"name": "a\x7fb"}, "name: colons and control characters are not allowed"),
        ({"name": "  "}, "name: must have at least 1 character"),
        ({"name": "x" * 65}, "name: must have at most 64 characters"),
        ({"instructions": "a\0b"}, "instructions: NUL characters are not allowed"),
        ({"model": {"temperature": 3}}, "model.temperature: must be at most 2"),
        ({"model": {"temperature": -0.1}}, "model.temperature: must be at least 0"),
        ({"model": {"temperature": float("nan")}}, "model.temperature: must be a finite number"),
        ({"model": {"max_tokens": 0}}, "model.max_tokens: must be greater than 0"),
        ({"model": {"modle": "x"}}, "model.modle: unknown field"),
        ({"model": {"extra": {"deep": [{"x": "\0"}]}}}, "model.extra: NUL characters are not allowed"),
        ({"memory": [{"label": "a", "text": "x"}]}, "memory.0.text: unknown field"),
    ],
)
def test_agent_invalid_names_field(fields: dict[str, object], message: str) -> None:
    assert message in validation_error(Agent, **{**AGENT, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bogus": 1}, "bogus: unknown field"),
        ({"agent_ids": ["a", "b", "a", "b", "c"]}, "agent_ids: Duplicate agent ids: 'a', 'b'"),
        ({"agent_ids": [str(number) for number in range(MAX_MEMBERS + 1)]}, "agent_ids: "),
        ({"name": "a:b"}, "name: colons and control characters are not allowed"),
        (
            {"manager_config": {"manager_type": "boss"}},
            "manager_config: 'manager_type' must be one of 'round_robin', 'dynamic'",
        ),
        ({"manager_config": {"manager_type": "dynamic"}}, "manager_config.manager_agent_id: is required"),
        (
            {"manager_config": {"manager_type": "round_robin", "max_turns": 0}},
            "manager_config.max_turns: must be greater than 0",
        ),
        (
            {"manager_config": {"manager_type": "round_robin", "max_turns": -3}},
            "manager_config.max_turns: must be greater than 0",
        ),
        (
            {"manager_config": {"manager_type": "round_robin", "manager_agent_id": "m"}},
            "manager_config.manager_agent_id: unknown field",
        ),
        (
            {"agent_ids": ["a", "m"], "manager_config": {"manager_type": "dynamic", "manager_agent_id": "m"}},
            "manager_config.manager_agent_id: 'm' is also a member",
        ),
        ({"settings": {"intake": "shout"}}, "settings.intake: must be 'interject', 'queue' or 'batch'"),
        ({"settings": {"catch_up": "last:-1"}}, "settings.catch_up: "),
        ({"settings": {"catch_up": "last"}}, "settings.catch_up: "),
        ({"settings": {"preview_chars": -1}}, "settings.preview_chars: "),
        ({"settings": {"context_messages": 1}}, "settings.context_messages: "),
        ({"settings": {"turn_timeout_seconds": 0}}, "settings.turn_timeout_seconds: "),
        ({"settings": {"termination": {"type": "max_turns", "limit": 0}}}, "settings.termination.limit: "),
        ({"settings": {"termination": {"type": "any", "conditions": []}}}, "settings.termination.conditions: "),
    ],
)
def test_group_invalid_names_field(fields: dict[str, object], message: str) -> None:
    assert message in validation_error(Group, **{**GROUP, **fields})


MAY_BE_NULL = {"model", "termination", "cool_down_turns", "cool_down_seconds"}
MAY_BE_EMPTY = {"on_failure", "budgets"}
MAY_BE_A_WORD = {"model"}


@pytest.mark.parametrize("name", sorted(GroupSettings.model_fields))
def test_settings_reject_negative_and_nonsense(name: str) -> None:
    values: tuple[object, ...] = (-1, "nonsense", float("nan"), float("inf"), [], None)
    for value in values:
        if (value is None and name in MAY_BE_NULL) or (value == [] and name in MAY_BE_EMPTY):
            continue
        if value == "nonsense" and name in MAY_BE_A_WORD:
            continue
        assert f"{name}" in validation_error(GroupSettings, **{name: value})


def test_names_are_stripped_of_blanks() -> None:
    assert agent("a", "  Mrs. O’Hara-Ünal  ").name == "Mrs. O’Hara-Ünal"
    assert MemoryBlock(label=" facts ", value=" x ").value == "x"


def test_several_errors_are_reported_at_once() -> None:
    problems = validation_error(Agent, id="a", name="a:b", modle={}, model={"temperature": 9})
    assert problems.count(";") == 2
    assert all(part in problems for part in ("name: ", "modle: unknown field", "model.temperature: "))


def test_error_has_path_of_source() -> None:
    with pytest.raises(ValidationError) as error:
        Agent.model_validate({"id": "a"})
    assert format_validation_error(error.value, path_prefix=("agents", "0")) == "agents.0.name: is required"


def test_definitions_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(agent("a"), "name", "b")  # noqa: B010


def test_check_members_accepts_existing_agents() -> None:
    check_members(group("a", "b", manager="m"), [agent("m"), agent("b"), agent("a"), agent("else")])


@pytest.mark.parametrize(
    ("wanted", "agents", "kind", "message"),
    [
        (group("a", "b", "c"), [agent("b")], NotFound, "group 'The group': no such agent: 'a', 'c'"),
        (group("a", manager="m"), [agent("a")], NotFound, "no such agent: 'm'"),
        (
            group("a", "b"),
            [agent("a", "Straße"), agent("b", "STRASSE")],
            InvalidDefinition,
            "Duplicate agent names: 'strasse'",
        ),
    ],
)
def test_check_members_refuses_missing_agents(
    wanted: Group, agents: list[Agent], kind: type[TertuliaError], message: str
) -> None:
    with pytest.raises(kind) as error:
        check_members(wanted, agents)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("catch_up", "last_seq", "expected"),
    [("full", 9, 0), ("none", 9, 9), ("last:3", 9, 6), ("last:9", 9, 0), ("last:20", 9, 0), ("none", 0, 0)],
)
def test_visible_from_follows_catch_up(catch_up: str, last_seq: int, expected: int) -> None:
    assert catch_up_start(catch_up, last_seq) == expected


def test_model_extra_fields_round_trip() -> None:
    extra = ModelSettings.model_validate({"extra": {"reasoning_effort": "low", "stop": ["a", 1, None, 0.5]}})
    assert ModelSettings.model_validate_json(extra.model_dump_json()) == extra
    assert Group(id=GroupId("g"), name="x").settings == GroupSettings()

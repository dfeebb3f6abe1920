"""A change of a group changes what it names and nothing else; null is empty, or the default again."""

import pytest

from tertulia.core.errors import InvalidDefinition
from tertulia.core.group import DynamicConfig, Group, GroupSettings, RoundRobinConfig, Standby
from tertulia.core.ids import AgentId, GroupId
from tertulia.core.patches import GroupPatch, apply_group_patch

GROUP = Group(
    id=GroupId("g"),
    name="The group",
    description="A table.",
    agent_ids=(AgentId("a"), AgentId("b")),
    standby=(Standby(agent_id=AgentId("s")),),
    manager_config=DynamicConfig(manager_agent_id=AgentId("m"), max_turns=7, starvation_turns=9),
    settings=GroupSettings(intake="queue", context_messages=10, cool_down_turns=3),
)


def change(**fields: object) -> Group:
    return apply_group_patch(GROUP, GroupPatch.model_validate(fields))


def test_what_is_not_named_stays() -> None:
    assert change() == GROUP
    assert change(name="Another") == GROUP.model_copy(update={"name": "Another"})


def test_the_list_of_agents_is_replaced_as_a_whole() -> None:
    assert change(agent_ids=["b", "c", "a"]).agent_ids == ("b", "c", "a")


def test_null_makes_a_field_empty() -> None:
    emptied = change(description=None, agent_ids=None, standby=None, shared_block_ids=None, metadata=None)
    assert (emptied.description, emptied.agent_ids, emptied.standby, emptied.metadata) == ("", (), (), {})


def test_settings_are_changed_one_by_one_and_null_is_the_default_or_no_limit() -> None:
    settings = change(settings={"intake": None, "context_tokens": 300, "cool_down_turns": None}).settings
    assert (settings.intake, settings.context_messages, settings.context_tokens) == ("interject", 10, 300)
    assert settings.cool_down_turns is None, "where null says something, it is kept"
    assert change(settings=None).settings == GroupSettings()


def test_the_managers_rules_are_changed_one_by_one() -> None:
    rules = change(manager_config={"manager_type": "dynamic", "max_turns": None, "termination_token": "BASTA"})
    expected = DynamicConfig(
        manager_agent_id=AgentId("m"), max_turns=None, termination_token="BASTA", starvation_turns=9
    )
    assert rules.manager_config == expected
    assert change(manager_config=None).manager_config == DynamicConfig(manager_agent_id=AgentId("m"))
    assert change(manager_config={"manager_agent_id": None}).manager_ids == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"manager_config": {"manager_type": "round_robin"}}, "Cannot change group pattern after creation"),
        ({"manager_config": {"max_turns": 0}}, "manager_config.*max_turns"),
        ({"manager_config": {"surprise": 1}}, "surprise: unknown field"),
        ({"settings": {"surprise": 1}}, "settings.surprise: unknown field"),
        ({"agent_ids": ["a", "a"]}, "Duplicate agent ids: 'a'"),
        ({"agent_ids": ["a", "m"]}, "manager_agent_id: 'm' is also a participant"),
        ({"agent_ids": ["s"]}, "Duplicate agent ids: 's'"),
        ({"name": None}, "name: a group has one"),
    ],
)
def test_a_group_that_cannot_be_is_refused_naming_the_field(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidDefinition, match=message):
        change(**fields)


def test_a_rule_stays_a_rule() -> None:
    group = Group(id=GroupId("g"), name="G", manager_config=RoundRobinConfig(max_turns=3))
    with pytest.raises(InvalidDefinition, match="Cannot change group pattern"):
        apply_group_patch(group, GroupPatch(manager_config={"manager_type": "dynamic", "manager_agent_id": "m"}))

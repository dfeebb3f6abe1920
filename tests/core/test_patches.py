"""Changes of groups: only given fields change; null clears a field or restores its default."""

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


def test_patch_keeps_unnamed_fields() -> None:
    assert change() == GROUP
    assert change(name="Another") == GROUP.model_copy(update={"name": "Another"})


def test_patch_replaces_agent_list() -> None:
    assert change(agent_ids=["b", "c", "a"]).agent_ids == ("b", "c", "a")


def test_patch_null_empties_field() -> None:
    emptied = change(description=None, agent_ids=None, standby=None, shared_block_ids=None, metadata=None)
    assert (emptied.description, emptied.agent_ids, emptied.standby, emptied.metadata) == ("", (), (), {})


def test_patch_settings_merges_and_resets() -> None:
    settings = change(settings={"intake": None, "context_tokens": 300, "cool_down_turns": None}).settings
    assert (settings.intake, settings.context_messages, settings.context_tokens) == ("interject", 10, 300)
    assert settings.cool_down_turns is None, "null is kept where it is a value"
    assert change(settings=None).settings == GroupSettings()


def test_patch_manager_config_merges() -> None:
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
        ({"agent_ids": ["a", "m"]}, "manager_agent_id: 'm' is also a member"),
        ({"agent_ids": ["s"]}, "Duplicate agent ids: 's'"),
        ({"name": None}, "name: cannot be null"),
    ],
)
def test_patch_invalid_names_field(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidDefinition, match=message):
        change(**fields)


def test_patch_cannot_change_manager_type() -> None:
    group = Group(id=GroupId("g"), name="G", manager_config=RoundRobinConfig(max_turns=3))
    with pytest.raises(InvalidDefinition, match="Cannot change group pattern"):
        apply_group_patch(group, GroupPatch(manager_config={"manager_type": "dynamic", "manager_agent_id": "m"}))

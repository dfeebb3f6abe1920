"""Changes of groups.

Invariant: fields that are not given stay. Lists are replaced as a whole; manager configuration and settings are merged
field by field, and null restores a field's default.
"""

from typing import Any, get_args

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from tertulia.core.base import Definition, format_validation_error
from tertulia.core.errors import InvalidDefinition
from tertulia.core.group import DynamicConfig, Group, GroupSettings, ManagerConfig, RoundRobinConfig, Standby
from tertulia.core.ids import AgentId, BlockId
from tertulia.core.names import DisplayName

_MANAGER_CONFIG: TypeAdapter[ManagerConfig] = TypeAdapter(ManagerConfig)


class GroupPatch(Definition):
    """A change of a group. Fields that are not given stay."""

    name: DisplayName | None = None
    description: str | None = Field(default=None, max_length=10_000)
    """Null clears it, like all following fields."""
    agent_ids: tuple[AgentId, ...] | None = None
    """All active members, in their new order."""
    standby: tuple[Standby, ...] | None = None
    manager_config: dict[str, JsonValue] | None = None
    """Changed fields of the manager configuration; null = the defaults."""
    shared_block_ids: tuple[BlockId, ...] | None = None
    settings: dict[str, JsonValue] | None = None
    """Changed settings; null = the defaults."""
    metadata: dict[str, JsonValue] | None = None


_CLEARED_VALUES: dict[str, object] = {
    "description": "",
    "agent_ids": (),
    "standby": (),
    "shared_block_ids": (),
    "metadata": {},
}


def apply_group_patch(group: Group, patch: GroupPatch) -> Group:
    """Return the group after the change, with its revision unchanged.

    Raises:
        InvalidDefinition: the changed group is invalid; the message names the field.
    """
    values: dict[str, Any] = {name: getattr(group, name) for name in type(group).model_fields}
    for name in patch.model_fields_set:
        given = getattr(patch, name)
        if name == "manager_config":
            values[name] = _patch_manager_config(group, given)
        elif name == "settings":
            values[name] = _merge_fields(group.settings.model_dump(mode="json", exclude_unset=True), given)
        elif name == "name" and given is None:
            raise InvalidDefinition("name: cannot be null")
        else:
            values[name] = _CLEARED_VALUES[name] if given is None else given
    try:
        return Group.model_validate(values)
    except ValidationError as error:
        raise InvalidDefinition(format_validation_error(error)) from None


def _patch_manager_config(group: Group, given: dict[str, JsonValue] | None) -> ManagerConfig:
    rules = group.manager_config
    kind = (given or {}).get("manager_type", rules.manager_type)
    if kind != rules.manager_type:
        raise InvalidDefinition("Cannot change group pattern after creation")
    # Only fields that were set are kept, so that defaults of a later version apply to the others.
    present = rules.model_dump(mode="json", exclude_unset=True)
    if given is None:
        values = {name: value for name, value in present.items() if name == "manager_agent_id"}
    else:
        values = _merge_fields(present, given)
    values["manager_type"] = kind
    try:
        return _MANAGER_CONFIG.validate_python(values)
    except ValidationError as error:
        raise InvalidDefinition(format_validation_error(error, path_prefix=["manager_config"])) from None


def _merge_fields(present: dict[str, Any], given: dict[str, JsonValue] | None) -> dict[str, Any]:
    """Return `present` updated with `given`; null removes a field, which restores its default."""
    if given is None:
        return {}
    merged = {**present, **given}
    return {name: value for name, value in merged.items() if value is not None or name in _NULLABLE_FIELDS}


_NULLABLE_FIELDS = {
    name
    for model in (RoundRobinConfig, DynamicConfig, GroupSettings)
    for name, field in model.model_fields.items()
    if type(None) in get_args(field.annotation)
}
"""Fields for which null is a value (no limit) and not a request for the default."""

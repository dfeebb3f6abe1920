"""Manifests: agents and groups in a YAML file, in which agents are named by name.

An entry without an `id` means the existing one with its name, if any. Applying an unchanged file changes nothing.
"""

import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from tertulia.core.agents import Agent, ModelSettings
from tertulia.core.base import Definition, Record, format_validation_error
from tertulia.core.blocks import MemoryBlock
from tertulia.core.errors import InvalidDefinition, NotFound
from tertulia.core.group import MAX_MEMBERS, Group, GroupSettings, ManagerConfig, Standby
from tertulia.core.ids import AgentId, BlockId, GroupId
from tertulia.core.names import DisplayName, Identifier
from tertulia.core.patches import GroupPatch, apply_group_patch
from tertulia.core.records import SaveOutcome

_MANAGER: TypeAdapter[ManagerConfig] = TypeAdapter(ManagerConfig)
_ROUND_ROBIN: dict[str, Any] = {"manager_type": "round_robin"}


class AgentSpec(Definition):
    """An agent in a manifest."""

    id: Identifier | None = None
    name: DisplayName
    description: str = ""
    instructions: str = ""
    model: ModelSettings = ModelSettings()
    memory: tuple[MemoryBlock, ...] | None = None
    """Exactly these blocks; left out, the agent's blocks stay as they are."""


class StandbySpec(Definition):
    """An agent on standby, named by id or by name."""

    agent: str
    stands_in_for: str | None = None
    """The only member that it replaces; None = any member that fails."""


class GroupSpec(Definition):
    """A group in a manifest. Agents and managers are named by id or by name."""

    id: Identifier | None = None
    name: DisplayName
    description: str = ""
    agents: tuple[str, ...] = Field(default=(), max_length=MAX_MEMBERS)
    standby: tuple[str | StandbySpec, ...] = Field(default=(), max_length=MAX_MEMBERS)
    """Agents that speak only in place of a member that fails."""
    manager_config: dict[str, Any] = Field(default=_ROUND_ROBIN)
    shared_memory: tuple[MemoryBlock, ...] | None = None
    """Exactly these shared blocks; left out, the group's blocks stay as they are."""
    settings: GroupSettings = GroupSettings()


class Manifest(Definition):
    """The content of a manifest."""

    agents: tuple[AgentSpec, ...] = ()
    groups: tuple[GroupSpec, ...] = ()


class ApplyResult(Record):
    """The result for one entry."""

    kind: Literal["agent", "group"]
    id: str
    name: str
    outcome: SaveOutcome


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        InvalidDefinition: the file cannot be read, is not YAML, or an entry is invalid; the message names the field.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDefinition(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise InvalidDefinition(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        manifest = Manifest.model_validate({} if content is None else content)
    except ValidationError as error:
        raise InvalidDefinition(f"{path}: {format_validation_error(error)}") from None
    for kind, names in (("agents", manifest.agents), ("groups", manifest.groups)):
        duplicates = [name for name, count in Counter(one.name.casefold() for one in names).items() if count > 1]
        if duplicates:
            raise InvalidDefinition(
                f"{path}: {kind}: the name {duplicates[0]!r} occurs twice; names are compared without case"
            )
    return manifest


class DefinitionStore(Protocol):
    """Storage of the agents and groups of manifests."""

    async def find_agent(self, id_or_name: str) -> AgentId:
        """Return the id of the agent with this id or, failing that, with this name in any case.

        Raises:
            NotFound: no such agent.
        """

    async def save_agent(self, agent: Agent, *, keep_memory: bool) -> SaveOutcome:
        """Create the agent, or update the one with its id.

        Args:
            agent: the definition, with its blocks in `memory`.
            keep_memory: leave the agent's blocks as they are.

        Raises:
            Conflict: another agent has the name, or another organisation the id.
            InvalidDefinition: two blocks have one label.
        """

    async def find_group(self, id_or_name: str) -> Group:
        """Return the group with this id or, failing that, with this name in any case.

        Raises:
            NotFound: no such group.
        """

    async def create_group(self, group: Group, *, keep_memory: bool) -> SaveOutcome:
        """Create a group.

        Args:
            group: the definition, with its shared blocks in `shared_memory`.
            keep_memory: ignore `shared_memory`.

        Raises:
            Conflict: another group has the name, or another organisation the id.
            InvalidDefinition: two blocks have one label, or two members one name.
        """

    async def write_shared_blocks(
        self, group: Group, memory: tuple[MemoryBlock, ...]
    ) -> tuple[tuple[BlockId, ...], bool]:
        """Write the texts of a group's shared blocks, without attaching new blocks.

        Returns:
            The blocks' ids in order, and whether a value changed.

        Raises:
            InvalidDefinition: two blocks have one label.
        """

    async def change_group(self, group_id: GroupId, patch: GroupPatch) -> None:
        """Change a group and notify its running conversations.

        Raises:
            NotFound: no such group, or no such agent or block.
            InvalidDefinition: the changed group would be invalid.
            Unavailable: no answer; the change may still be made.
        """


async def apply_manifest(store: DefinitionStore, manifest: Manifest) -> list[ApplyResult]:
    """Create or update every entry, agents first. Entries that equal the stored ones change nothing.

    Args:
        store: where the definitions are stored.
        manifest: the entries.

    Returns:
        One result per entry, in the order of the manifest.

    Raises:
        InvalidDefinition: a group would be invalid, or names an agent that does not exist.
        Conflict: a name or an id is taken. Entries before it stay; the manifest can be applied again.
    """
    results = []
    for spec in manifest.agents:
        agent = await _build_agent(store, spec)
        outcome = await store.save_agent(agent, keep_memory=spec.memory is None)
        results.append(ApplyResult(kind="agent", id=agent.id, name=agent.name, outcome=outcome))
    for entry in manifest.groups:
        results.append(await _apply_group(store, entry))
    return results


async def _apply_group(store: DefinitionStore, spec: GroupSpec) -> ApplyResult:
    existing = await _find_existing_group(store, spec)
    group = await _build_group(store, spec, existing.id if existing else None)
    if existing is None:
        outcome = await store.create_group(group, keep_memory=spec.shared_memory is None)
    else:
        outcome = await _change_group(store, existing, group, spec.shared_memory)
    return ApplyResult(kind="group", id=group.id, name=group.name, outcome=outcome)


async def _change_group(
    store: DefinitionStore, existing: Group, group: Group, memory: tuple[MemoryBlock, ...] | None
) -> SaveOutcome:
    fields: dict[str, Any] = {
        name: getattr(group, name)
        for name in ("name", "description", "agent_ids", "standby", "manager_config", "settings")
        if getattr(group, name) != getattr(existing, name)
    }
    for name in ("manager_config", "settings"):
        if name in fields:
            fields[name] = fields[name].model_dump(mode="json")
    apply_group_patch(existing, GroupPatch.model_validate(fields))
    changed = False
    if memory is not None:
        ids, changed = await store.write_shared_blocks(existing, memory)
        if ids != existing.shared_block_ids:
            fields["shared_block_ids"] = ids
    if fields:
        await store.change_group(existing.id, GroupPatch.model_validate(fields))
    return "updated" if fields or changed else "unchanged"


async def _build_agent(store: DefinitionStore, spec: AgentSpec) -> Agent:
    values = spec.model_dump(exclude={"memory"})
    values["memory"] = spec.memory or ()
    values["id"] = spec.id or await _find_agent_id(store, spec.name) or f"agent-{uuid.uuid4()}"
    return Agent.model_validate(values)


async def _find_agent_id(store: DefinitionStore, name: str) -> AgentId | None:
    try:
        return await store.find_agent(name)
    except NotFound:
        return None


async def _build_group(store: DefinitionStore, spec: GroupSpec, existing_id: GroupId | None) -> Group:
    values = spec.model_dump(exclude={"agents", "standby", "manager_config", "shared_memory"})
    values["shared_memory"] = spec.shared_memory or ()
    values["id"] = existing_id or spec.id or f"group-{uuid.uuid4()}"
    manager_config = dict(spec.manager_config)
    try:
        if manager := manager_config.get("manager_agent_id"):
            manager_config["manager_agent_id"] = await store.find_agent(str(manager))
        if isinstance(fallback_ids := manager_config.get("fallback_manager_ids"), list):
            manager_config["fallback_manager_ids"] = [
                await store.find_agent(str(id_or_name)) for id_or_name in fallback_ids
            ]
        values["agent_ids"] = [await store.find_agent(id_or_name) for id_or_name in spec.agents]
        values["standby"] = [await _build_standby(store, entry) for entry in spec.standby]
    except NotFound as error:
        raise InvalidDefinition(f"group {spec.name!r}: {error}") from None
    try:
        values["manager_config"] = _MANAGER.validate_python(manager_config)
    except ValidationError as error:
        raise InvalidDefinition(
            f"group {spec.name!r}: {format_validation_error(error, path_prefix=['manager_config'])}"
        ) from None
    try:
        return Group.model_validate(values)
    except ValidationError as error:
        raise InvalidDefinition(f"group {spec.name!r}: {format_validation_error(error)}") from None


async def _build_standby(store: DefinitionStore, entry: str | StandbySpec) -> Standby:
    spec = StandbySpec(agent=entry) if isinstance(entry, str) else entry
    member = spec.stands_in_for
    return Standby(
        agent_id=await store.find_agent(spec.agent),
        stands_in_for=await store.find_agent(member) if member else None,
    )


async def _find_existing_group(store: DefinitionStore, spec: GroupSpec) -> Group | None:
    try:
        found = await store.find_group(spec.id or spec.name)
    except NotFound:
        return None
    return found if spec.id in (None, found.id) else None

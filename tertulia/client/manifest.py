"""Agents and groups as people write them: a YAML file, in which everyone is named by name.

An entry without an `id` is the one of that name, if there is one; so applying a file again changes nothing.
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


class WrittenAgent(Definition):
    """An agent in a file."""

    id: Identifier | None = None
    name: DisplayName
    description: str = ""
    instructions: str = ""
    model: ModelSettings = ModelSettings()
    memory: tuple[MemoryBlock, ...] | None = None
    """Exactly what it remembers; left out, that stays as it is."""


class WrittenStandby(Definition):
    """An agent on standby that is kept for one member."""

    agent: str
    stands_in_for: str | None = None


class WrittenGroup(Definition):
    """A group in a file; agents, the manager's included, are named by id or by name."""

    id: Identifier | None = None
    name: DisplayName
    description: str = ""
    agents: tuple[str, ...] = Field(default=(), max_length=MAX_MEMBERS)
    standby: tuple[str | WrittenStandby, ...] = Field(default=(), max_length=MAX_MEMBERS)
    """Those that only speak in the place of one that fails."""
    manager_config: dict[str, Any] = Field(default=_ROUND_ROBIN)
    shared_memory: tuple[MemoryBlock, ...] | None = None
    """Exactly what the members share; left out, that stays as it is."""
    settings: GroupSettings = GroupSettings()


class DefinitionFile(Definition):
    """A whole file."""

    agents: tuple[WrittenAgent, ...] = ()
    groups: tuple[WrittenGroup, ...] = ()


class Applied(Record):
    """What became of one entry."""

    kind: Literal["agent", "group"]
    id: str
    name: str
    outcome: SaveOutcome


def read_definitions(path: Path) -> DefinitionFile:
    """The file's agents and groups.

    Raises:
        InvalidDefinition: the file cannot be read, is not YAML, or an entry is wrong; the message names the field.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDefinition(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise InvalidDefinition(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        file = DefinitionFile.model_validate({} if content is None else content)
    except ValidationError as error:
        raise InvalidDefinition(f"{path}: {format_validation_error(error)}") from None
    for kind, names in (("agents", file.agents), ("groups", file.groups)):
        twice = [name for name, count in Counter(one.name.casefold() for one in names).items() if count > 1]
        if twice:
            raise InvalidDefinition(f"{path}: {kind}: the name {twice[0]!r} stands there twice")
    return file


class Shelf(Protocol):
    """Where agents and groups are kept."""

    async def find_agent(self, who: str) -> AgentId:
        """The agent of that id or, else, of that name, whatever its case.

        Raises:
            NotFound: there is none.
        """

    async def save_agent(self, agent: Agent, *, keep_memory: bool) -> SaveOutcome:
        """Create the agent, or bring the one of that id, its memory included unless `keep_memory`, up to date.

        Raises:
            Conflict: another agent bears the name, or the id belongs to somebody else.
            InvalidDefinition: two blocks of its memory bear one label.
        """

    async def find_group(self, which: str) -> Group:
        """The group of that id or, else, of that name; what its members share may be left out.

        Raises:
            NotFound: there is none.
        """

    async def create_group(self, group: Group, *, keep_memory: bool) -> SaveOutcome:
        """Make a group whose members share exactly its `shared_memory`; with `keep_memory`, that says nothing.

        Raises:
            Conflict: another group bears the name, or the id belongs to somebody else.
            InvalidDefinition: two blocks bear one label, or two members one name.
        """

    async def write_shared(self, group: Group, memory: tuple[MemoryBlock, ...]) -> tuple[tuple[BlockId, ...], bool]:
        """The blocks of what a group's members are to share, in order, and whether a value has changed."""

    async def change_group(self, group_id: GroupId, patch: GroupPatch) -> None:
        """Change a group; its conversations are told."""


async def apply_to(shelf: Shelf, file: DefinitionFile) -> list[Applied]:
    """Create or update every entry, agents first; entries that are there already stay as they are.

    Raises:
        InvalidDefinition: a group cannot exist as written.
        Conflict: a name or an id is taken. Entries before it stay; the file can be applied again.
    """
    applied = []
    for written in file.agents:
        agent = await _agent(shelf, written)
        outcome = await shelf.save_agent(agent, keep_memory=written.memory is None)
        applied.append(Applied(kind="agent", id=agent.id, name=agent.name, outcome=outcome))
    for entry in file.groups:
        applied.append(await _apply_group(shelf, entry))
    return applied


async def _apply_group(shelf: Shelf, written: WrittenGroup) -> Applied:
    present = await _present(shelf, written)
    group = await _group(shelf, written, present.id if present else None)
    if present is None:
        outcome = await shelf.create_group(group, keep_memory=written.shared_memory is None)
    else:
        outcome = await _change_group(shelf, present, group, written.shared_memory)
    return Applied(kind="group", id=group.id, name=group.name, outcome=outcome)


async def _change_group(
    shelf: Shelf, present: Group, group: Group, memory: tuple[MemoryBlock, ...] | None
) -> SaveOutcome:
    fields: dict[str, Any] = {
        name: getattr(group, name)
        for name in ("name", "description", "agent_ids", "standby", "manager_config", "settings")
        if getattr(group, name) != getattr(present, name)
    }
    for name in ("manager_config", "settings"):
        if name in fields:
            fields[name] = fields[name].model_dump(mode="json")
    apply_group_patch(present, GroupPatch.model_validate(fields))
    changed = False
    if memory is not None:
        ids, changed = await shelf.write_shared(present, memory)
        if ids != present.shared_block_ids:
            fields["shared_block_ids"] = ids
    if fields:
        await shelf.change_group(present.id, GroupPatch.model_validate(fields))
    return "updated" if fields or changed else "unchanged"


async def _agent(shelf: Shelf, written: WrittenAgent) -> Agent:
    values = written.model_dump(exclude={"memory"})
    values["memory"] = written.memory or ()
    values["id"] = written.id or await _agent_id(shelf, written.name) or f"agent-{uuid.uuid4()}"
    return Agent.model_validate(values)


async def _agent_id(shelf: Shelf, name: str) -> AgentId | None:
    try:
        return await shelf.find_agent(name)
    except NotFound:
        return None


async def _group(shelf: Shelf, written: WrittenGroup, known_id: GroupId | None) -> Group:
    values = written.model_dump(exclude={"agents", "standby", "manager_config", "shared_memory"})
    values["shared_memory"] = written.shared_memory or ()
    values["id"] = known_id or written.id or f"group-{uuid.uuid4()}"
    manager_config = dict(written.manager_config)
    try:
        if manager := manager_config.get("manager_agent_id"):
            manager_config["manager_agent_id"] = await shelf.find_agent(str(manager))
        if isinstance(others := manager_config.get("fallback_manager_ids"), list):
            manager_config["fallback_manager_ids"] = [await shelf.find_agent(str(who)) for who in others]
        values["agent_ids"] = [await shelf.find_agent(who) for who in written.agents]
        values["standby"] = [await _standby(shelf, entry) for entry in written.standby]
    except NotFound as error:
        raise InvalidDefinition(f"group {written.name!r}: {error}") from None
    try:
        values["manager_config"] = _MANAGER.validate_python(manager_config)
    except ValidationError as error:
        raise InvalidDefinition(
            f"group {written.name!r}: {format_validation_error(error, path_prefix=['manager_config'])}"
        ) from None
    try:
        return Group.model_validate(values)
    except ValidationError as error:
        raise InvalidDefinition(f"group {written.name!r}: {format_validation_error(error)}") from None


async def _standby(shelf: Shelf, entry: str | WrittenStandby) -> Standby:
    written = WrittenStandby(agent=entry) if isinstance(entry, str) else entry
    member = written.stands_in_for
    return Standby(
        agent_id=await shelf.find_agent(written.agent),
        stands_in_for=await shelf.find_agent(member) if member else None,
    )


async def _present(shelf: Shelf, written: WrittenGroup) -> Group | None:
    try:
        found = await shelf.find_group(written.id or written.name)
    except NotFound:
        return None
    return found if written.id in (None, found.id) else None

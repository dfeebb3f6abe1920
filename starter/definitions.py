"""Agents and groups as people write them: a YAML file, in which everyone is named by name.

An entry without an `id` is the one of that name, if there is one; so applying a file again changes nothing.
"""

import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from groups.agents import Agent, Identifier, MemoryBlock, ModelSettings, Name
from groups.errors import InvalidDefinition, NotFound
from groups.group import MAX_MEMBERS, Group, GroupSettings, ManagerConfig, Standby
from groups.ids import AgentId, GroupId
from groups.model import Definition, Record, explain
from store.database import Database
from store.definitions import Outcome, find_agent, find_group, save_agent, save_group

_MANAGER: TypeAdapter[ManagerConfig] = TypeAdapter(ManagerConfig)
_ROUND_ROBIN: dict[str, Any] = {"manager_type": "round_robin"}


class WrittenAgent(Definition):
    """An agent in a file."""

    id: Identifier | None = None
    name: Name
    description: str = ""
    instructions: str = ""
    model: ModelSettings = ModelSettings()
    memory: tuple[MemoryBlock, ...] = ()


class WrittenStandby(Definition):
    """An agent on standby that is kept for one member."""

    agent: str
    stands_in_for: str | None = None


class WrittenGroup(Definition):
    """A group in a file; agents, the manager's included, are named by id or by name."""

    id: Identifier | None = None
    name: Name
    description: str = ""
    agents: tuple[str, ...] = Field(default=(), max_length=MAX_MEMBERS)
    standby: tuple[str | WrittenStandby, ...] = Field(default=(), max_length=MAX_MEMBERS)
    """Those that only speak in the place of one that fails."""
    manager_config: dict[str, Any] = Field(default=_ROUND_ROBIN)
    shared_memory: tuple[MemoryBlock, ...] = ()
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
    outcome: Outcome


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
        raise InvalidDefinition(f"{path}: {explain(error)}") from None
    for kind, names in (("agents", file.agents), ("groups", file.groups)):
        twice = [name for name, count in Counter(one.name.casefold() for one in names).items() if count > 1]
        if twice:
            raise InvalidDefinition(f"{path}: {kind}: the name {twice[0]!r} stands there twice")
    return file


async def apply_definitions(database: Database, file: DefinitionFile) -> list[Applied]:
    """Create or update every entry, agents first; entries that are there already stay as they are.

    Raises:
        InvalidDefinition: a group cannot exist as written. Entries before it stay; the file can be applied again.
    """
    applied = []
    for written in file.agents:
        agent = await _agent(database, written)
        applied.append(_line("agent", agent.id, agent.name, await save_agent(database, agent)))
    for entry in file.groups:
        group = await _group(database, entry)
        applied.append(_line("group", group.id, group.name, await save_group(database, group)))
    return applied


def _line(kind: Literal["agent", "group"], entry_id: str, name: str, outcome: Outcome) -> Applied:
    return Applied(kind=kind, id=entry_id, name=name, outcome=outcome)


async def _agent(database: Database, written: WrittenAgent) -> Agent:
    values = written.model_dump()
    values["id"] = AgentId(written.id or await _agent_id(database, written.name) or f"agent-{uuid.uuid4()}")
    return Agent.model_validate(values)


async def _agent_id(database: Database, name: str) -> AgentId | None:
    try:
        return (await find_agent(database, name)).id
    except NotFound:
        return None


async def _group(database: Database, written: WrittenGroup) -> Group:
    values = written.model_dump(exclude={"agents", "standby", "manager_config"})
    values["id"] = GroupId(written.id or await _group_id(database, written.name) or f"group-{uuid.uuid4()}")
    manager_config = dict(written.manager_config)
    try:
        if manager := manager_config.get("manager_agent_id"):
            manager_config["manager_agent_id"] = await _id_of(database, manager)
        if isinstance(others := manager_config.get("fallback_manager_ids"), list):
            manager_config["fallback_manager_ids"] = [await _id_of(database, who) for who in others]
        values["agent_ids"] = [await _id_of(database, who) for who in written.agents]
        values["standby"] = [await _standby(database, entry) for entry in written.standby]
    except NotFound as error:
        raise InvalidDefinition(f"group {written.name!r}: {error}") from None
    try:
        values["manager_config"] = _MANAGER.validate_python(manager_config)
    except ValidationError as error:
        raise InvalidDefinition(f"group {written.name!r}: {explain(error, under=['manager_config'])}") from None
    try:
        return Group.model_validate(values)
    except ValidationError as error:
        raise InvalidDefinition(f"group {written.name!r}: {explain(error)}") from None


async def _id_of(database: Database, who: object) -> AgentId:
    return (await find_agent(database, str(who))).id


async def _standby(database: Database, entry: str | WrittenStandby) -> Standby:
    written = WrittenStandby(agent=entry) if isinstance(entry, str) else entry
    member = written.stands_in_for
    return Standby(
        agent_id=await _id_of(database, written.agent),
        stands_in_for=await _id_of(database, member) if member else None,
    )


async def _group_id(database: Database, name: str) -> GroupId | None:
    try:
        return (await find_group(database, name)).id
    except NotFound:
        return None

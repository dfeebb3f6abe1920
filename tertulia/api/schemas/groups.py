"""Groups as Letta's V1 API has them, with what this house adds: a name, settings, those on standby, a revision."""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import BaseModel, Field, JsonValue

from tertulia.api.schemas.requests import PageQuery, RequestModel
from tertulia.core.blocks import MAX_BLOCKS, MemoryBlock
from tertulia.core.group import (
    MAX_MEMBERS,
    DynamicConfig,
    GroupFilter,
    GroupSettings,
    ManagerConfig,
    NewGroup,
    RoundRobinConfig,
    Standby,
    StoredGroup,
)
from tertulia.core.ids import AgentId, BlockId
from tertulia.core.names import DisplayName, Identifier
from tertulia.core.patches import GroupPatch

ManagerType = Literal["round_robin", "dynamic", "supervisor", "sleeptime", "voice_sleeptime", "swarm"]
"""Letta's kinds; groups of the first two can be made here."""
_IGNORED_FIELDS = frozenset({"project_id", "hidden"})


class CreateGroup(RequestModel):
    """A group that is to be made."""

    ignored_fields: ClassVar[frozenset[str]] = _IGNORED_FIELDS

    id: Identifier | None = Field(default=None, description="One is made where none is given, as for the name.")
    name: DisplayName | None = None
    description: str | None = Field(default=None, max_length=10_000)
    agent_ids: tuple[AgentId, ...] = Field(default=(), max_length=MAX_MEMBERS, description="Who talks, in order.")
    standby: tuple[Standby, ...] = Field(default=(), max_length=MAX_MEMBERS)
    manager_config: ManagerConfig | None = None
    shared_block_ids: tuple[BlockId, ...] | None = Field(default=None, max_length=MAX_BLOCKS)
    settings: GroupSettings | None = None
    metadata: dict[str, JsonValue] | None = None

    @property
    def definition(self) -> NewGroup:
        """Convert to the service's request."""
        return NewGroup(
            id=self.id,
            name=self.name,
            description=self.description or "",
            agent_ids=self.agent_ids,
            standby=self.standby,
            manager_config=self.manager_config or RoundRobinConfig(),
            shared_block_ids=self.shared_block_ids or (),
            settings=self.settings or GroupSettings(),
            metadata=self.metadata or {},
        )


class UpdateGroup(GroupPatch, RequestModel):
    """A change of a group: what it does not name stays, null makes empty, and a list is replaced as a whole."""

    ignored_fields: ClassVar[frozenset[str]] = _IGNORED_FIELDS


class GroupQuery(PageQuery):
    """Which groups."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset({"project_id", "show_hidden_groups"})

    manager_type: ManagerType | None = None
    name: str | None = None

    @property
    def filter(self) -> GroupFilter:
        """Which of them."""
        return GroupFilter(manager_type=self.manager_type, name=self.name)


class GroupsOfAgentQuery(PageQuery):
    """Which of an agent's groups."""

    manager_type: ManagerType | None = None


class GroupShape(BaseModel):
    """A group."""

    id: str
    name: str
    description: str
    manager_type: Literal["round_robin", "dynamic"]
    agent_ids: list[str]
    """The members, in order."""
    manager_agent_id: str | None
    termination_token: str | None
    max_turns: int | None
    shared_block_ids: list[str]
    shared_memory: list[MemoryBlock] = []
    """Text of the shared blocks."""
    standby: list[Standby]
    """Those that speak only in the place of one that fails."""
    manager_config: ManagerConfig
    settings: GroupSettings
    metadata: dict[str, JsonValue]
    revision: int
    """Grows with every change."""
    default_conversation_id: str | None
    """The conversation that receives messages to the group; null before the first."""
    created_at: datetime
    updated_at: datetime


def group_shape(stored: StoredGroup) -> GroupShape:
    """The group in this shape."""
    group = stored.group
    rules = group.manager_config
    return GroupShape(
        id=group.id,
        name=group.name,
        description=group.description,
        manager_type=rules.manager_type,
        agent_ids=[*group.agent_ids],
        manager_agent_id=rules.manager_agent_id if isinstance(rules, DynamicConfig) else None,
        termination_token=rules.termination_token,
        max_turns=rules.max_turns,
        shared_block_ids=[*group.shared_block_ids],
        shared_memory=[*group.shared_memory],
        standby=[*group.standby],
        manager_config=rules,
        settings=group.settings,
        metadata=group.metadata,
        revision=group.revision,
        default_conversation_id=stored.default_conversation_id,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
    )

"""Groups in the shape of Letta's V1 API, with further fields: name, settings, standby members, revision."""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from tertulia.api.schemas.requests import PageQuery, RequestModel
from tertulia.api.schemas.responses import ResponseModel
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
"""Letta's manager types. Groups of the first two can be created here; the others match no group in a query."""
_IGNORED_FIELDS = frozenset({"project_id", "hidden"})


class CreateGroup(RequestModel):
    """Request to create a group."""

    ignored_fields: ClassVar[frozenset[str]] = _IGNORED_FIELDS

    id: Identifier | None = Field(default=None, description="Generated if missing; the same applies to `name`.")
    name: DisplayName | None = None
    description: str | None = Field(default=None, max_length=10_000)
    agent_ids: tuple[AgentId, ...] = Field(default=(), max_length=MAX_MEMBERS, description="Members, in order.")
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
    """Change of a group: fields that are not given stay; null clears a field; a list is replaced as a whole."""

    ignored_fields: ClassVar[frozenset[str]] = _IGNORED_FIELDS


class GroupQuery(PageQuery):
    """Query for one page of the groups that match every given field."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset({"project_id", "show_hidden_groups"})

    manager_type: ManagerType | None = Field(default=None, description="Manager type.")
    name: str | None = Field(default=None, description="Exact name, in any case.")

    @property
    def filter(self) -> GroupFilter:
        """The filter that the service takes."""
        return GroupFilter(manager_type=self.manager_type, name=self.name)


class GroupsOfAgentQuery(PageQuery):
    """Query for one page of the groups of an agent."""

    manager_type: ManagerType | None = Field(default=None, description="Manager type.")


class GroupShape(ResponseModel):
    """A group."""

    id: str
    name: str
    description: str
    manager_type: Literal["round_robin", "dynamic"]
    agent_ids: list[str]
    """Members, in order."""
    manager_agent_id: str | None
    termination_token: str | None
    max_turns: int | None
    shared_block_ids: list[str]
    shared_memory: tuple[MemoryBlock, ...] = ()
    """Labels and texts of the shared blocks."""
    standby: list[Standby]
    """Members that speak only in place of a failed one."""
    manager_config: ManagerConfig
    settings: GroupSettings
    metadata: dict[str, JsonValue]
    revision: int
    """Increases with every change."""
    default_conversation_id: str | None
    """Conversation that receives messages to the group; null before the first message."""
    created_at: datetime
    updated_at: datetime


def group_shape(stored: StoredGroup) -> GroupShape:
    """Convert a group to its response."""
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
        shared_memory=group.shared_memory,
        standby=[*group.standby],
        manager_config=rules,
        settings=group.settings,
        metadata=group.metadata,
        revision=group.revision,
        default_conversation_id=stored.default_conversation_id,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
    )

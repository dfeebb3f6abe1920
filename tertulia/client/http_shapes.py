"""The JSON shapes of agents, blocks and groups in the REST API, and their conversion to and from core values."""

from datetime import datetime

from pydantic import JsonValue, TypeAdapter

from tertulia.core.agents import ModelSettings, NewAgent, StoredAgent
from tertulia.core.base import Record
from tertulia.core.blocks import Block, MemoryBlock
from tertulia.core.group import Group, NewGroup, StoredGroup
from tertulia.core.ids import AgentId, BlockId, ConversationId, GroupId


class Memory(Record):
    """An agent's blocks."""

    blocks: tuple[Block, ...]


class AgentShape(Record):
    """An agent."""

    id: AgentId
    name: str
    description: str
    system: str
    model_settings: ModelSettings
    memory: Memory
    tags: tuple[str, ...]
    metadata: dict[str, JsonValue]
    revision: int
    created_at: datetime
    updated_at: datetime

    @property
    def stored(self) -> StoredAgent:
        """The agent as a value of core."""
        values = {name: getattr(self, name) for name in StoredAgent.model_fields if hasattr(self, name)}
        own = {"instructions": self.system, "model": self.model_settings, "blocks": self.memory.blocks}
        return StoredAgent.model_validate(values | own)


class GroupShape(Record):
    """A group."""

    id: GroupId
    name: str
    description: str
    agent_ids: tuple[AgentId, ...]
    standby: tuple[JsonValue, ...]
    manager_config: dict[str, JsonValue]
    settings: dict[str, JsonValue]
    shared_block_ids: tuple[BlockId, ...]
    shared_memory: tuple[MemoryBlock, ...] = ()
    metadata: dict[str, JsonValue]
    revision: int
    default_conversation_id: ConversationId | None
    created_at: datetime
    updated_at: datetime

    @property
    def group(self) -> Group:
        """The group's definition as a value of core."""
        return Group.model_validate(self.model_dump(include=set(Group.model_fields)))

    @property
    def stored(self) -> StoredGroup:
        """The group as a value of core."""
        return StoredGroup(
            group=self.group,
            default_conversation_id=self.default_conversation_id,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


AGENT = TypeAdapter(AgentShape)
AGENTS = TypeAdapter(list[AgentShape])
BLOCK = TypeAdapter(Block)
BLOCKS = TypeAdapter(list[Block])
GROUP = TypeAdapter(GroupShape)
GROUPS = TypeAdapter(list[GroupShape])


def agent_body(new: NewAgent) -> dict[str, JsonValue]:
    """Return the body that creates this agent."""
    body = new.model_dump(mode="json", exclude={"instructions", "model", "blocks"}, exclude_none=True)
    return body | {
        "system": new.instructions,
        "model_settings": new.model.model_dump(mode="json"),
        "memory_blocks": [block.model_dump(mode="json") for block in new.blocks],
    }


def group_body(new: NewGroup) -> dict[str, JsonValue]:
    """Return the body that creates this group."""
    return new.model_dump(mode="json", exclude_none=True)

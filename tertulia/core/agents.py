"""Agents: definitions, patches, filters and stored rows. An agent is a database row, never code."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, PositiveInt, StringConstraints

from tertulia.core.base import Definition, Record
from tertulia.core.blocks import MAX_BLOCKS, Block, MemoryBlock, NewBlock
from tertulia.core.ids import AgentId, BlockId
from tertulia.core.names import DisplayName, Identifier


class ModelChoice(Definition):
    """A model and its call parameters."""

    model: str | None = Field(default=None, min_length=1, max_length=200)
    """Provider's name of the model; null = the worker's `TERTULIA_MODEL`."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: PositiveInt | None = None
    """Tokens of one answer at most; null = the provider's limit."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """Further request fields, sent unchanged (`reasoning_effort`, `top_p`, …)."""


class ModelSettings(ModelChoice):
    """An agent's model, its call parameters and its fallback models."""

    fallbacks: tuple[ModelChoice, ...] = Field(default=(), max_length=5)
    """Models used in this order after all attempts with the previous one have failed."""

    @property
    def choices(self) -> tuple[ModelChoice, ...]:
        """The agent's model, then its fallbacks."""
        return (self, *self.fallbacks)

    def with_model(self, model: str | None) -> "ModelSettings":
        """Return these settings with `model` instead of the agent's own; None changes nothing."""
        return self if model is None else self.model_copy(update={"model": model})


class Agent(Definition):
    """An agent that can be a member or a manager of groups."""

    id: AgentId
    name: DisplayName
    """Unique within the organisation; messages in the transcript carry it."""
    description: str = Field(default="", max_length=2_000)
    """Skills of the agent in one line; managers and other members read it."""
    instructions: str = Field(default="", max_length=100_000)
    """Persona: the first part of the system prompt."""
    model: ModelSettings = ModelSettings()
    memory: tuple[MemoryBlock, ...] = ()


Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=50), AfterValidator(lambda tags: tuple(sorted(set(tags))))]


class AgentPatch(Definition):
    """A change of an agent. Fields that are not given stay; null clears a field."""

    name: DisplayName | None = None
    description: str | None = Field(default=None, max_length=2_000)
    instructions: str | None = Field(default=None, max_length=100_000)
    model: ModelSettings | None = None
    model_name: str | None = Field(default=None, min_length=1, max_length=200)
    """Provider's name of another model; the call parameters stay."""
    tags: Tags | None = None
    metadata: dict[str, JsonValue] | None = None
    block_ids: tuple[BlockId, ...] | None = Field(default=None, max_length=100)
    """All memory blocks of the agent, in their new order."""


class StoredAgent(Record):
    """An agent as stored, with its blocks."""

    id: AgentId
    name: str
    description: str
    instructions: str
    model: ModelSettings
    tags: tuple[str, ...]
    metadata: dict[str, JsonValue]
    revision: int
    created_at: datetime
    updated_at: datetime
    blocks: tuple[Block, ...]


class AgentFilter(Definition):
    """Filter of agents; all given fields must match."""

    name: str | None = None
    query_text: str | None = None
    """Part of the name."""
    tags: tuple[str, ...] = ()
    """Tags to match: at least one, or all with `match_all_tags`."""
    match_all_tags: bool = False


class NewAgent(Definition):
    """Request to create an agent."""

    id: Identifier | None = None
    """Null = generated; the same applies to `name`."""
    name: DisplayName | None = None
    description: str = Field(default="", max_length=2_000)
    instructions: str = Field(default="", max_length=100_000)
    model: ModelSettings = ModelSettings()
    tags: Tags = ()
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    blocks: tuple[NewBlock, ...] = Field(default=(), max_length=MAX_BLOCKS)
    """Blocks to create and attach."""
    block_ids: tuple[BlockId, ...] = Field(default=(), max_length=MAX_BLOCKS)
    """Existing blocks to attach after the new ones."""

"""An agent is a row, never code: who it is, what it is good at, and with which model it speaks."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, PositiveInt, StringConstraints

from tertulia.core.base import Definition, Record
from tertulia.core.blocks import MAX_BLOCKS, Block, MemoryBlock, NewBlock
from tertulia.core.ids import AgentId, BlockId
from tertulia.core.names import DisplayName, Identifier


class ModelChoice(Definition):
    """A model, and how it is called."""

    model: str | None = Field(default=None, min_length=1, max_length=200)
    """The provider's name of the model; without one, the worker's `TERTULIA_MODEL`."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: PositiveInt | None = None
    """The most tokens that one answer may have; without it, the provider's own limit."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of the request, passed on as they are (`reasoning_effort`, `top_p`, …)."""


class ModelSettings(ModelChoice):
    """How an agent's model is called, and which models answer when it fails."""

    fallbacks: tuple[ModelChoice, ...] = Field(default=(), max_length=5)
    """Asked in this order once all attempts with the models before them have failed."""

    @property
    def choices(self) -> tuple[ModelChoice, ...]:
        """All models, in the order in which they are asked."""
        return (self, *self.fallbacks)

    def with_model(self, model: str | None) -> "ModelSettings":
        """The same, with that model in the place of the agent's own."""
        return self if model is None else self.model_copy(update={"model": model})


class Agent(Definition):
    """Someone who can take part in a group, or manage one."""

    id: AgentId
    name: DisplayName
    """Unique among all agents: the words in a transcript bear it."""
    description: str = Field(default="", max_length=2_000)
    """What it is good at, in a line: a manager and the other members read this."""
    instructions: str = Field(default="", max_length=100_000)
    """The persona: what the model is told about who it is."""
    model: ModelSettings = ModelSettings()
    memory: tuple[MemoryBlock, ...] = ()


Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=50), AfterValidator(lambda tags: tuple(sorted(set(tags))))]


class AgentPatch(Definition):
    """A change of an agent. What it does not name stays; null = empty."""

    name: DisplayName | None = None
    description: str | None = Field(default=None, max_length=2_000)
    instructions: str | None = Field(default=None, max_length=100_000)
    model: ModelSettings | None = None
    model_name: str | None = Field(default=None, min_length=1, max_length=200)
    """Another model alone; how it is called stays."""
    tags: Tags | None = None
    metadata: dict[str, JsonValue] | None = None
    block_ids: tuple[BlockId, ...] | None = Field(default=None, max_length=100)
    """All its blocks, in their new order."""


class StoredAgent(Record):
    """An agent as it is kept, with its blocks."""

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
    """Which agents: those for which all of this holds."""

    name: str | None = None
    query_text: str | None = None
    """A part of the name."""
    tags: tuple[str, ...] = ()
    """Tags of which it has one, or all."""
    match_all_tags: bool = False


class NewAgent(Definition):
    """An agent that is to be made."""

    id: Identifier | None = None
    """One is made where none is given; the same holds for the name."""
    name: DisplayName | None = None
    description: str = Field(default="", max_length=2_000)
    instructions: str = Field(default="", max_length=100_000)
    model: ModelSettings = ModelSettings()
    tags: Tags = ()
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    blocks: tuple[NewBlock, ...] = Field(default=(), max_length=MAX_BLOCKS)
    """Blocks that are made with it."""
    block_ids: tuple[BlockId, ...] = Field(default=(), max_length=MAX_BLOCKS)
    """Blocks that are there, after those."""

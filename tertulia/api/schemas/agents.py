"""Agents in the shape of Letta's V1 API. Fields without a counterpart (tools, embedding) are empty in responses."""

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, PositiveInt

from tertulia.api.schemas.blocks import BlockShape, CreateBlock, block_shape
from tertulia.api.schemas.requests import PageQuery, RequestModel
from tertulia.api.schemas.responses import ResponseModel
from tertulia.core.agents import AgentFilter, AgentPatch, ModelSettings, NewAgent, StoredAgent, Tags
from tertulia.core.blocks import MAX_BLOCKS
from tertulia.core.group import GroupSettings
from tertulia.core.ids import BlockId
from tertulia.core.names import DisplayName, Identifier
from tertulia.core.paging import Page

_MODEL_PREFIX = "openai/"
"""Letta's names of models begin with a provider; this provider is the endpoint configured here."""
_IGNORED_FIELDS = frozenset(
    """agent_type embedding embedding_config embedding_chunk_size context_window_limit max_reasoning_tokens
    enable_reasoner reasoning from_template template project project_id template_id base_template_id identity_ids
    tools tool_ids tool_rules source_ids include_base_tools include_multi_agent_tools include_base_tool_rules
    include_default_source tool_exec_environment_variables memory_variables initial_message_sequence message_ids
    message_buffer_autoclear enable_sleeptime response_format timezone max_files_open per_file_view_window_char_limit
    hidden last_run_completion last_run_duration_ms""".split()
)


class LlmConfigRequest(RequestModel):
    """Model and call parameters of an agent, in Letta's shape."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset(
        """model_endpoint_type model_endpoint provider_name provider_category model_wrapper context_window
        put_inner_thoughts_in_kwargs handle enable_reasoner max_reasoning_tokens compatibility_type tier""".split()
    )

    model: str = Field(min_length=1, max_length=200)
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: PositiveInt | None = None
    reasoning_effort: str | None = Field(default=None, max_length=20)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    verbosity: str | None = Field(default=None, max_length=20)

    @property
    def settings(self) -> ModelSettings:
        """Convert to the service's value."""
        # Fields of Letta's that chat-completion endpoints take under the same names.
        optional = {name: getattr(self, name) for name in ("reasoning_effort", "frequency_penalty", "verbosity")}
        extra: dict[str, JsonValue] = {name: value for name, value in optional.items() if value is not None}
        return ModelSettings(model=self.model, temperature=self.temperature, max_tokens=self.max_tokens, extra=extra)


class _AgentFields(RequestModel):
    """Fields common to the creation and the change of an agent."""

    ignored_fields: ClassVar[frozenset[str]] = _IGNORED_FIELDS

    name: DisplayName | None = None
    description: str | None = Field(default=None, max_length=2_000)
    system: str | None = Field(
        default=None, max_length=100_000, description="Instructions: the first part of the system prompt."
    )
    model: str | None = Field(
        default=None, min_length=1, max_length=200, description="Name of the model; a leading `openai/` is removed."
    )
    llm_config: LlmConfigRequest | None = Field(default=None, description="Takes precedence over `model`.")
    model_settings: ModelSettings | None = Field(
        default=None, description="All parameters of a model, and fallback models; takes precedence over both."
    )
    tags: Tags | None = None
    metadata: dict[str, JsonValue] | None = None
    block_ids: tuple[BlockId, ...] | None = Field(default=None, max_length=MAX_BLOCKS)

    @property
    def model_name(self) -> str | None:
        """Name of the model at the configured endpoint."""
        return self.model.removeprefix(_MODEL_PREFIX) or None if self.model else None


class CreateAgent(_AgentFields):
    """Request to create an agent."""

    id: Identifier | None = Field(default=None, description="Generated if missing; the same applies to `name`.")
    memory_blocks: tuple[CreateBlock, ...] | None = Field(
        default=None, max_length=MAX_BLOCKS, description="Blocks to create and attach before those of `block_ids`."
    )
    max_tokens: PositiveInt | None = Field(default=None, description="Tokens of one answer at most.")

    @property
    def definition(self) -> NewAgent:
        """Convert to the service's request."""
        return NewAgent(
            id=self.id,
            name=self.name,
            description=self.description or "",
            instructions=self.system or "",
            model=self._model_settings(),
            tags=self.tags or (),
            metadata=self.metadata or {},
            blocks=tuple(block.draft for block in self.memory_blocks or ()),
            block_ids=self.block_ids or (),
        )

    def _model_settings(self) -> ModelSettings:
        if self.model_settings:
            return self.model_settings
        if self.llm_config:
            settings = self.llm_config.settings
            return settings.model_copy(update={"max_tokens": self.max_tokens or settings.max_tokens})
        return ModelSettings(model=self.model_name, max_tokens=self.max_tokens)


class UpdateAgent(_AgentFields):
    """Change of an agent: fields that are not given stay; null clears a field."""

    @property
    def patch(self) -> AgentPatch:
        """Convert to the service's request."""
        set_fields = self.model_fields_set
        values: dict[str, Any] = {name: getattr(self, name) for name in _UNCHANGED_FIELDS & set_fields}
        if "system" in set_fields:
            values["instructions"] = self.system
        if self.model_settings:
            values["model"] = self.model_settings
        elif self.llm_config:
            values["model"] = self.llm_config.settings
        elif "model" in set_fields:
            values["model_name"] = self.model_name
        return AgentPatch.model_validate(values)


_UNCHANGED_FIELDS = {"name", "description", "tags", "metadata", "block_ids"}


class AgentQuery(PageQuery):
    """Query for one page of the agents that match every given field."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset(
        """project_id template_id base_template_id identity_id identifier_keys include_relationships sort_by
        show_hidden_agents""".split()
    )

    name: str | None = Field(default=None, description="Exact name, in any case.")
    query_text: str | None = Field(default=None, description="Part of the name, in any case.")
    tags: list[str] = Field(default=[], max_length=50, description="Tags of which at least one matches.")
    match_all_tags: bool = Field(
        default=False, description="Match agents with all of the tags instead of at least one."
    )
    ascending: bool = Field(
        default=True, description="Letta's form of `order`: false = `desc`. `order` takes precedence."
    )

    @property
    def page(self) -> Page:
        """The page that the service takes."""
        page = super().page
        return page if self.ascending or "order" in self.model_fields_set else page.model_copy(update={"order": "desc"})

    @property
    def filter(self) -> AgentFilter:
        """The filter that the service takes."""
        return AgentFilter(
            name=self.name, query_text=self.query_text, tags=tuple(self.tags), match_all_tags=self.match_all_tags
        )


class LlmConfig(ResponseModel):
    """Model and call parameters of an agent."""

    model: str
    model_endpoint_type: Literal["openai"] = "openai"
    context_window: int
    """Tokens of transcript in one prompt, by default; the group's settings can change it."""
    handle: str
    temperature: float | None
    max_tokens: int | None


class EmbeddingConfig(ResponseModel):
    """Always `none`: agents have no embeddings."""

    embedding_endpoint_type: str = "none"
    embedding_model: str = "none"
    embedding_dim: int = 0
    embedding_chunk_size: int = 0


class Memory(ResponseModel):
    """Memory blocks of an agent."""

    blocks: list[BlockShape]
    file_blocks: tuple[JsonValue, ...] = ()
    prompt_template: str = ""


class AgentState(ResponseModel):
    """An agent."""

    id: str
    name: str
    description: str
    system: str
    """Instructions: the first part of the system prompt."""
    agent_type: Literal["react_agent"] = "react_agent"
    llm_config: LlmConfig
    model_settings: ModelSettings
    embedding_config: EmbeddingConfig = EmbeddingConfig()
    memory: Memory
    tools: tuple[JsonValue, ...] = ()
    tool_rules: tuple[JsonValue, ...] = ()
    sources: tuple[JsonValue, ...] = ()
    identity_ids: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()
    tags: list[str]
    metadata: dict[str, JsonValue]
    revision: int
    """Increases with every change."""
    created_at: datetime
    updated_at: datetime


def agent_shape(agent: StoredAgent, default_model: str) -> AgentState:
    """Convert an agent to its response."""
    name = agent.model.model or default_model
    return AgentState(
        id=agent.id,
        name=agent.name,
        description=agent.description,
        system=agent.instructions,
        llm_config=LlmConfig(
            model=name,
            context_window=GroupSettings().context_tokens,
            handle=f"{_MODEL_PREFIX}{name}",
            temperature=agent.model.temperature,
            max_tokens=agent.model.max_tokens,
        ),
        model_settings=agent.model,
        memory=Memory(blocks=[block_shape(block) for block in agent.blocks]),
        tags=[*agent.tags],
        metadata=agent.metadata,
        revision=agent.revision,
        created_at=agent.created_at,
        updated_at=agent.updated_at,
    )

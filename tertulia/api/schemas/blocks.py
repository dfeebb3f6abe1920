"""Memory blocks in the shape of Letta's V1 API, with a version."""

from datetime import datetime
from typing import ClassVar

from pydantic import Field, JsonValue

from tertulia.api.schemas.requests import PageQuery, RequestModel
from tertulia.api.schemas.responses import ResponseModel
from tertulia.core.blocks import DEFAULT_BLOCK_LIMIT, Block, BlockFilter, BlockLimit, BlockPatch, BlockText, NewBlock
from tertulia.core.names import DisplayName

_IGNORED_FIELDS = frozenset(
    {
        "project_id",
        "name",
        "is_template",
        "base_template_id",
        "template_id",
        "deployment_id",
        "entity_id",
        "preserve_on_migration",
        "read_only",
        "template_name",
    }
)


class CreateBlock(RequestModel):
    """Request to create a block."""

    ignored_fields: ClassVar[frozenset[str]] = _IGNORED_FIELDS

    label: DisplayName
    value: BlockText = ""
    limit: BlockLimit | None = Field(default=None, description="Characters of the value at most.")
    description: str | None = Field(default=None, max_length=2_000)
    metadata: dict[str, JsonValue] | None = None

    @property
    def draft(self) -> NewBlock:
        """Convert to the service's request."""
        return NewBlock(
            label=self.label,
            value=self.value,
            limit=self.limit or DEFAULT_BLOCK_LIMIT,
            description=self.description or "",
            metadata=self.metadata or {},
        )


class UpdateBlock(BlockPatch, RequestModel):
    """Change of a block: fields that are not given, or are null, stay."""

    ignored_fields: ClassVar[frozenset[str]] = _IGNORED_FIELDS


class BlockQuery(PageQuery):
    """Query for one page of the blocks that match every given field."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset(
        {"templates_only", "name", "identity_id", "identifier_keys", "project_id"}
    )

    label: str | None = Field(default=None, description="Exact label.")
    label_search: str | None = Field(default=None, description="Part of the label, in any case.")
    value_search: str | None = Field(default=None, description="Part of the value, in any case.")
    description_search: str | None = Field(default=None, description="Part of the description, in any case.")

    @property
    def filter(self) -> BlockFilter:
        """The filter that the service takes."""
        return BlockFilter(
            label=self.label,
            label_search=self.label_search,
            value_search=self.value_search,
            description_search=self.description_search,
        )


class BlockShape(ResponseModel):
    """A memory block."""

    id: str
    label: str
    value: str
    description: str
    limit: int
    version: int
    """Increases with every change of the value; the first is 1."""
    metadata: dict[str, JsonValue]
    is_template: bool = False
    created_at: datetime
    updated_at: datetime


def block_shape(block: Block) -> BlockShape:
    """Convert a block to its response."""
    return BlockShape.model_validate(block.model_dump())

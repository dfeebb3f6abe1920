"""Memory blocks as Letta's V1 API has them, with a version."""

from datetime import datetime
from typing import ClassVar

from pydantic import BaseModel, Field, JsonValue

from tertulia.api.schemas.requests import PageQuery, RequestModel
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
    """A block that is to be made."""

    ignored_fields: ClassVar[frozenset[str]] = _IGNORED_FIELDS

    label: DisplayName
    value: BlockText = ""
    limit: BlockLimit | None = Field(default=None, description="The most characters that the value may have.")
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
    """A change of a block; what it does not name, or names as null, stays."""

    ignored_fields: ClassVar[frozenset[str]] = _IGNORED_FIELDS


class BlockQuery(PageQuery):
    """Which blocks."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset(
        {"templates_only", "name", "identity_id", "identifier_keys", "project_id"}
    )

    label: str | None = None
    label_search: str | None = Field(default=None, description="A part of the label, in whatever case.")
    value_search: str | None = Field(default=None, description="A part of the value, in whatever case.")
    description_search: str | None = Field(default=None, description="A part of the description, in whatever case.")

    @property
    def filter(self) -> BlockFilter:
        """Which of them."""
        return BlockFilter(
            label=self.label,
            label_search=self.label_search,
            value_search=self.value_search,
            description_search=self.description_search,
        )


class BlockShape(BaseModel):
    """A memory block."""

    id: str
    label: str
    value: str
    description: str
    limit: int
    version: int
    """Counts the changes of the value."""
    metadata: dict[str, JsonValue]
    is_template: bool = False
    created_at: datetime
    updated_at: datetime


def block_shape(block: Block) -> BlockShape:
    """The block in this shape."""
    return BlockShape.model_validate(block.model_dump())

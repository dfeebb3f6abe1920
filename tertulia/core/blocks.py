"""Memory blocks: labelled texts with rows of their own, attached to agents and shared by groups.

Invariant: `version` counts the changes of the value.
"""

from datetime import datetime
from typing import Annotated

from pydantic import Field, JsonValue, PositiveInt, StringConstraints

from tertulia.core.base import Definition, Record
from tertulia.core.errors import InvalidDefinition
from tertulia.core.ids import BlockId
from tertulia.core.names import DisplayName

MAX_BLOCK_CHARS = 100_000
DEFAULT_BLOCK_LIMIT = 20_000
MAX_BLOCKS = 100


class MemoryBlock(Definition):
    """A labelled text in the prompt of its agent, or of all members of a group that shares it."""

    label: DisplayName
    value: str = Field(default="", max_length=MAX_BLOCK_CHARS)


BlockText = Annotated[str, StringConstraints(strip_whitespace=False, max_length=MAX_BLOCK_CHARS)]
BlockLimit = Annotated[PositiveInt, Field(le=MAX_BLOCK_CHARS)]


class NewBlock(Definition):
    """Request to create a block."""

    label: DisplayName
    value: BlockText = ""
    description: str = Field(default="", max_length=2_000)
    limit: BlockLimit = DEFAULT_BLOCK_LIMIT
    """Characters of the value at most."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class BlockPatch(Definition):
    """A change of a block. Fields that are not given, or are null, stay."""

    label: DisplayName | None = None
    value: BlockText | None = None
    append: BlockText | None = None
    """Text to append to the value that is stored when the change is applied; excludes `value`."""
    description: str | None = Field(default=None, max_length=2_000)
    limit: BlockLimit | None = None
    metadata: dict[str, JsonValue] | None = None


class Block(Record):
    """A block as stored."""

    id: BlockId
    label: str
    value: str
    description: str = ""
    limit: PositiveInt = DEFAULT_BLOCK_LIMIT
    version: PositiveInt = 1
    """Number of the value, counted from 1."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    created_at: datetime
    updated_at: datetime


def check_block_limit(label: str, value: str, limit: int) -> None:
    """Check the length of a block's value.

    Raises:
        InvalidDefinition: the value is longer than `limit`.
    """
    if len(value) > limit:
        raise InvalidDefinition(f"value: {len(value)} characters; the limit of block {label!r} is {limit}")


def apply_block_patch(block: Block, patch: BlockPatch) -> Block:
    """Return the block after `patch`; `version` increases if the value has changed.

    Raises:
        InvalidDefinition: the value would be longer than the limit, or `value` and `append` are both given.
    """
    given = patch.model_dump(exclude_unset=True, exclude_none=True)
    addition = given.pop("append", None)
    if addition is not None:
        if "value" in given:
            raise InvalidDefinition("append: give either `value` or `append`, not both")
        given["value"] = block.value + addition
    changed = block.model_copy(update=given)
    # A value that exceeds its limit already must not block a change of other fields.
    if {"value", "limit"} & given.keys():
        check_block_limit(changed.label, changed.value, changed.limit)
    version = block.version + (changed.value != block.value)
    return changed.model_copy(update={"version": version})


class BlockFilter(Definition):
    """Filter of blocks; all given fields must match."""

    label: str | None = None
    label_search: str | None = None
    """Part of the label."""
    value_search: str | None = None
    """Part of the value."""
    description_search: str | None = None
    """Part of the description."""

"""A memory block: a labelled text with a row of its own, attached to agents and shared by groups.

Law: `version` counts the changes of the value.
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
    """A labelled text that stands in the prompt of its agent, or of all members of a group that shares it."""

    label: DisplayName
    value: str = Field(default="", max_length=MAX_BLOCK_CHARS)


BlockText = Annotated[str, StringConstraints(strip_whitespace=False, max_length=MAX_BLOCK_CHARS)]
BlockLimit = Annotated[PositiveInt, Field(le=MAX_BLOCK_CHARS)]


class NewBlock(Definition):
    """A block that is to be made."""

    label: DisplayName
    value: BlockText = ""
    description: str = Field(default="", max_length=2_000)
    limit: BlockLimit = DEFAULT_BLOCK_LIMIT
    """The most characters that the value may have."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class BlockPatch(Definition):
    """A change of a block: the fields that are set, and no others."""

    label: DisplayName | None = None
    value: BlockText | None = None
    append: BlockText | None = None
    """Text that is added to the end of the value, whatever that is by then."""
    description: str | None = Field(default=None, max_length=2_000)
    limit: BlockLimit | None = None
    metadata: dict[str, JsonValue] | None = None


class Block(Record):
    """A block as it is kept."""

    id: BlockId
    label: str
    value: str
    description: str = ""
    limit: PositiveInt = DEFAULT_BLOCK_LIMIT
    version: PositiveInt = 1
    """Counts the changes of the value."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    created_at: datetime
    updated_at: datetime


def check_block_limit(label: str, value: str, limit: int) -> None:
    """Refuse a value that is longer than its block allows.

    Raises:
        InvalidDefinition: with both lengths.
    """
    if len(value) > limit:
        raise InvalidDefinition(f"value: {len(value)} characters, and the block {label!r} has a limit of {limit}")


def apply_block_patch(block: Block, patch: BlockPatch) -> Block:
    """The block after `patch`; its version counts up if the value has become another.

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
    if {"value", "limit"} & given.keys():
        check_block_limit(changed.label, changed.value, changed.limit)
    version = block.version + (changed.value != block.value)
    return changed.model_copy(update={"version": version})


class BlockFilter(Definition):
    """Which blocks: those for which all of this holds."""

    label: str | None = None
    label_search: str | None = None
    """A part of the label."""
    value_search: str | None = None
    """A part of the value."""
    description_search: str | None = None
    """A part of the description."""

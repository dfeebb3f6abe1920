"""The blocks of agents and groups, in order. Invariant: a block's row is locked before it is changed."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.blocks import DEFAULT_BLOCK_LIMIT, Block, MemoryBlock
from tertulia.core.errors import Conflict, InvalidDefinition, NotFound
from tertulia.core.ids import BlockId, OrganisationId
from tertulia.store.tables import agents, agents_blocks, blocks, groups, groups_blocks

BLOCK_FIELDS = (*Block.model_fields,)
TEXT_FIELDS = ("label", "value")


@dataclass(frozen=True)
class Owner:
    """A kind of row that blocks are attached to."""

    kind: str
    table: Table
    attached: Table

    @property
    def id(self) -> ColumnElement[str]:
        """The column of the attachment table that holds the owner's id."""
        return self.attached.c[f"{self.kind}_id"]


AGENT = Owner("agent", agents, agents_blocks)
GROUP = Owner("group", groups, groups_blocks)


def blocks_of(owner: Owner, fields: Iterable[str] = BLOCK_FIELDS) -> ColumnElement[Any]:
    """Column expression: the owner's blocks as a JSON array, in order."""
    pairs = [part for name in fields for part in (name, blocks.c[name])]
    every = func.json_agg(aggregate_order_by(func.json_build_object(*pairs), owner.attached.c.position))
    query = select(func.coalesce(every, func.json_build_array()))
    own = query.select_from(owner.attached.join(blocks)).where(owner.id == owner.table.c.id)
    return own.correlate(owner.table).scalar_subquery()


def new_block_id() -> BlockId:
    """Draw the id of a new block."""
    return BlockId(f"block-{uuid.uuid4()}")


async def attach(
    connection: AsyncConnection, organisation_id: OrganisationId, owner: Owner, owner_id: str, ids: Sequence[BlockId]
) -> bool:
    """Replace the owner's blocks by these, in this order.

    Returns:
        Whether anything changed.

    Raises:
        NotFound: no such block; the message names all missing ones.
        Conflict: two blocks have one label.
    """
    query = select(owner.attached.c.block_id).where(owner.id == owner_id).order_by(owner.attached.c.position)
    if [*(await connection.execute(query)).scalars()] == [*ids]:
        return False
    mine = select(blocks.c.id, blocks.c.label).where(blocks.c.organisation_id == organisation_id, blocks.c.id.in_(ids))
    labels = {row.id: row.label for row in await connection.execute(mine.with_for_update(read=True, key_share=True))}
    if missing := [one for one in ids if one not in labels]:
        raise NotFound(f"no such block: {', '.join(map(repr, missing))}")
    check_unique_labels((labels[one] for one in ids), owner)
    await connection.execute(delete(owner.attached).where(owner.id == owner_id))
    rows = [{owner.id.name: owner_id, "block_id": one, "position": position} for position, one in enumerate(ids)]
    if rows:
        await connection.execute(insert(owner.attached), rows)
    return True


def check_unique_labels(labels: Iterable[str], owner: Owner) -> None:
    """Refuse two blocks with one label at one owner.

    Raises:
        Conflict: a label occurs twice.
    """
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise Conflict(f"Duplicate block labels: the {owner.kind} would have two blocks labelled {label!r}")
        seen.add(label)


async def write_memory(
    connection: AsyncConnection,
    organisation_id: OrganisationId,
    owner: Owner,
    owner_id: str,
    memory: Sequence[MemoryBlock],
) -> bool:
    """Replace the owner's blocks by blocks with exactly these texts.

    Returns:
        Whether anything changed.

    Raises:
        InvalidDefinition: two texts have one label.
    """
    ids, changed = await write_block_texts(connection, organisation_id, owner, owner_id, memory)
    return await attach(connection, organisation_id, owner, owner_id, ids) or changed


async def write_block_texts(
    connection: AsyncConnection,
    organisation_id: OrganisationId,
    owner: Owner,
    owner_id: str,
    memory: Sequence[MemoryBlock],
) -> tuple[list[BlockId], bool]:
    """Write these texts into the owner's blocks without attaching new ones.

    A block that the owner has under a label gets the new value; a new label gets a new block.

    Returns:
        The ids of the blocks, in the order of the texts, and whether a value changed.

    Raises:
        InvalidDefinition: two texts have one label.
    """
    labels = [block.label for block in memory]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise InvalidDefinition(f"memory: two blocks have the label {twice[0]!r}")
    query = select(blocks.c.id, blocks.c.label, blocks.c.value, owner.attached.c.position)
    query = query.select_from(owner.attached.join(blocks)).where(owner.id == owner_id)
    rows = (await connection.execute(query.order_by(blocks.c.id).with_for_update(of=blocks, key_share=True))).all()
    present = {row.label: row for row in sorted(rows, key=lambda row: row.position, reverse=True)}
    changed = False
    for text in memory:
        found = present.get(text.label)
        if found is not None and found.value != text.value:
            await connection.execute(update(blocks).where(blocks.c.id == found.id).values(_new_value(text.value)))
            changed = True
    drafts = {text.label: new_block_id() for text in memory if text.label not in present}
    if drafts:
        values = [_row(organisation_id, drafts[text.label], text) for text in memory if text.label in drafts]
        await connection.execute(insert(blocks), values)
    return [drafts.get(label) or present[label].id for label in labels], changed


def _new_value(value: str) -> dict[str, Any]:
    limit = func.greatest(blocks.c.limit, len(value))
    return {"value": value, "version": blocks.c.version + 1, "limit": limit, "updated_at": func.now()}


def _row(organisation_id: OrganisationId, block_id: BlockId, text: MemoryBlock) -> dict[str, Any]:
    limit = max(DEFAULT_BLOCK_LIMIT, len(text.value))
    return {
        "id": block_id,
        "organisation_id": organisation_id,
        "label": text.label,
        "value": text.value,
        "limit": limit,
    }

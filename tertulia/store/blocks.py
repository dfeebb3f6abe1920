"""Memory blocks. Invariant: a block's row is locked while it is changed, so that no concurrent change is lost."""

from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.blocks import Block, BlockFilter, BlockPatch, NewBlock, apply_block_patch, check_block_limit
from tertulia.core.errors import Conflict, NotFound
from tertulia.core.ids import OrganisationId
from tertulia.core.paging import Page
from tertulia.store.block_attachments import AGENT, BLOCK_FIELDS, GROUP, Owner, new_block_id
from tertulia.store.database import Database
from tertulia.store.definition_rows import not_found_message, revision_bump
from tertulia.store.paging import containing, count, read_page
from tertulia.store.tables import blocks

_COLUMNS = tuple(blocks.c[name] for name in BLOCK_FIELDS)


async def insert_block(connection: AsyncConnection, organisation_id: OrganisationId, draft: NewBlock) -> Block:
    """Insert a block.

    Raises:
        InvalidDefinition: the value is longer than the limit.
    """
    check_block_limit(draft.label, draft.value, draft.limit)
    values = {"id": new_block_id(), "organisation_id": organisation_id, **draft.model_dump(mode="json")}
    return block_of((await connection.execute(insert(blocks).values(values).returning(*_COLUMNS))).one())


async def create_block(database: Database, organisation_id: OrganisationId, draft: NewBlock) -> Block:
    """Insert a block in a transaction of its own. See `insert_block`."""
    async with database.transaction() as connection:
        return await insert_block(connection, organisation_id, draft)


async def find_block(database: Database, organisation_id: OrganisationId, block_id: str) -> Block:
    """Return the block with this id.

    Raises:
        NotFound: no such block.
    """
    row = await database.row(select(*_COLUMNS).where(*_own(organisation_id, block_id)))
    if row is None:
        raise NotFound(not_found_message("block", [block_id]))
    return block_of(row)


async def list_blocks(
    database: Database, organisation_id: OrganisationId, page: Page, filter: BlockFilter | None = None
) -> list[Block]:
    """Return one page of the blocks that match `filter`.

    Raises:
        NotFound: no block has the id in `page.before` or `page.after`.
    """
    filter = filter or BlockFilter()
    query = select(*_COLUMNS).where(blocks.c.organisation_id == organisation_id)
    if filter.label is not None:
        query = query.where(blocks.c.label == filter.label)
    searched = {"label": filter.label_search, "value": filter.value_search, "description": filter.description_search}
    for name, text in searched.items():
        if text is not None:
            query = query.where(containing(blocks.c[name], text))
    return [block_of(row) for row in await read_page(database, blocks, organisation_id, query, page)]


async def count_blocks(database: Database, organisation_id: OrganisationId) -> int:
    """Return the number of blocks."""
    return await count(database, blocks, blocks.c.organisation_id == organisation_id)


async def change_block(
    database: Database,
    organisation_id: OrganisationId,
    block_id: str,
    patch: BlockPatch,
    *,
    expected_version: int | None = None,
) -> Block:
    """Update a block.

    Raises:
        NotFound: no such block.
        Conflict: the version is not the expected one.
        InvalidDefinition: the value would be longer than the limit.
    """
    async with database.transaction() as connection:
        query = select(*_COLUMNS).where(*_own(organisation_id, block_id)).with_for_update(key_share=True)
        row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound(not_found_message("block", [block_id]))
        block = block_of(row)
        if expected_version not in (None, block.version):
            raise Conflict(f"the block {block_id!r} has version {block.version} by now, not {expected_version}")
        changed = apply_block_patch(block, patch)
        if changed == block:
            return block
        values = changed.model_dump(mode="json", exclude={"id", "created_at", "updated_at"})
        written = update(blocks).where(blocks.c.id == block_id).values(values | {"updated_at": func.now()})
        return block_of((await connection.execute(written.returning(*_COLUMNS))).one())


async def delete_block(database: Database, organisation_id: OrganisationId, block_id: str) -> None:
    """Delete a block and detach it from every agent and group.

    Raises:
        NotFound: no such block.
    """
    async with database.transaction() as connection:
        # Groups before agents: the order in which a change of a group locks rows.
        for owner in (GROUP, AGENT):
            await connection.execute(_count_up(owner, organisation_id, block_id))
        deleted = delete(blocks).where(*_own(organisation_id, block_id)).returning(blocks.c.id)
        if (await connection.execute(deleted)).first() is None:
            raise NotFound(not_found_message("block", [block_id]))


def _count_up(owner: Owner, organisation_id: OrganisationId, block_id: str) -> Any:
    having = select(owner.id).where(owner.attached.c.block_id == block_id)
    own = owner.table.c.organisation_id == organisation_id, owner.table.c.deleted_at.is_(None)
    return update(owner.table).where(*own, owner.table.c.id.in_(having)).values(revision_bump(owner.table))


def _own(organisation_id: OrganisationId, block_id: str) -> tuple[Any, Any]:
    return blocks.c.id == block_id, blocks.c.organisation_id == organisation_id


def block_of(row: Row[Any]) -> Block:
    """Build a block from a row of all columns."""
    return Block.model_validate(dict(row._mapping))

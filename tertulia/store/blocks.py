"""Memory blocks. Law: whoever changes one holds its row meanwhile; writers wait for each other, and none is lost."""

from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.blocks import Block, BlockFilter, BlockPatch, NewBlock, apply_block_patch, check_block_limit
from tertulia.core.errors import Conflict, NotFound
from tertulia.core.ids import OrganisationId
from tertulia.core.paging import Page
from tertulia.store.block_attachments import AGENT, BLOCK_FIELDS, GROUP, Owner, new_block_id
from tertulia.store.database import Database
from tertulia.store.definition_rows import counted, unknown
from tertulia.store.paging import containing, count, read_page
from tertulia.store.tables import blocks

_COLUMNS = tuple(blocks.c[name] for name in BLOCK_FIELDS)


async def insert_block(connection: AsyncConnection, organisation_id: OrganisationId, draft: NewBlock) -> Block:
    """Make a block.

    Raises:
        InvalidDefinition: the value is longer than the limit.
    """
    check_block_limit(draft.label, draft.value, draft.limit)
    values = {"id": new_block_id(), "organisation_id": organisation_id, **draft.model_dump(mode="json")}
    return block_of((await connection.execute(insert(blocks).values(values).returning(*_COLUMNS))).one())


async def create_block(database: Database, organisation_id: OrganisationId, draft: NewBlock) -> Block:
    """As `insert_block`, on its own."""
    async with database.transaction() as connection:
        return await insert_block(connection, organisation_id, draft)


async def find_block(database: Database, organisation_id: OrganisationId, block_id: str) -> Block:
    """The block of that id.

    Raises:
        NotFound: there is none.
    """
    row = await database.row(select(*_COLUMNS).where(*_own(organisation_id, block_id)))
    if row is None:
        raise NotFound(unknown("block", [block_id]))
    return block_of(row)


async def list_blocks(
    database: Database, organisation_id: OrganisationId, page: Page, only: BlockFilter | None = None
) -> list[Block]:
    """The blocks on that page.

    Raises:
        NotFound: the page begins or ends at a block that does not exist.
    """
    only = only or BlockFilter()
    query = select(*_COLUMNS).where(blocks.c.organisation_id == organisation_id)
    if only.label is not None:
        query = query.where(blocks.c.label == only.label)
    searched = {"label": only.label_search, "value": only.value_search, "description": only.description_search}
    for name, text in searched.items():
        if text is not None:
            query = query.where(containing(blocks.c[name], text))
    return [block_of(row) for row in await read_page(database, blocks, organisation_id, query, page)]


async def count_blocks(database: Database, organisation_id: OrganisationId) -> int:
    """How many blocks there are."""
    return await count(database, blocks, blocks.c.organisation_id == organisation_id)


async def change_block(
    database: Database,
    organisation_id: OrganisationId,
    block_id: str,
    patch: BlockPatch,
    *,
    expected_version: int | None = None,
) -> Block:
    """Change a block; without an expected version, whatever it is by then.

    Raises:
        NotFound: there is none.
        Conflict: its version is another than the expected one.
        InvalidDefinition: the value would be longer than the limit.
    """
    async with database.transaction() as connection:
        query = select(*_COLUMNS).where(*_own(organisation_id, block_id)).with_for_update(key_share=True)
        row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound(unknown("block", [block_id]))
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
    """Take a block away from all that have it, and from the database.

    Raises:
        NotFound: there is none.
    """
    async with database.transaction() as connection:
        # Groups before agents, as whoever changes a group takes them.
        for owner in (GROUP, AGENT):
            await connection.execute(_count_up(owner, organisation_id, block_id))
        deleted = delete(blocks).where(*_own(organisation_id, block_id)).returning(blocks.c.id)
        if (await connection.execute(deleted)).first() is None:
            raise NotFound(unknown("block", [block_id]))


def _count_up(owner: Owner, organisation_id: OrganisationId, block_id: str) -> Any:
    having = select(owner.id).where(owner.attached.c.block_id == block_id)
    own = owner.table.c.organisation_id == organisation_id, owner.table.c.deleted_at.is_(None)
    return update(owner.table).where(*own, owner.table.c.id.in_(having)).values(counted(owner.table))


def _own(organisation_id: OrganisationId, block_id: str) -> tuple[Any, Any]:
    return blocks.c.id == block_id, blocks.c.organisation_id == organisation_id


def block_of(row: Row[Any]) -> Block:
    """The block that was read with all columns."""
    return Block.model_validate(dict(row._mapping))

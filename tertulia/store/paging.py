"""Keyset pagination: a page starts before or after a row, however the list has grown since."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table, func, select, tuple_

from tertulia.core.errors import NotFound
from tertulia.core.ids import OrganisationId
from tertulia.core.paging import Page
from tertulia.store.database import Database


async def read_page(
    database: Database, table: Table, organisation_id: OrganisationId, query: Select[Any], page: Page
) -> Sequence[Row[Any]]:
    """Return the rows of `query`, a query on `table`, that belong to the page.

    Raises:
        NotFound: no row has the id in `page.before` or `page.after`.
    """
    place = tuple_(table.c.created_at, table.c.id)
    rising = page.order == "asc"
    if page.after is not None:
        seen = await _place_of(database, table, organisation_id, "after", page.after)
        query = query.where(place > seen if rising else place < seen)
    if page.before is not None:
        seen = await _place_of(database, table, organisation_id, "before", page.before)
        query = query.where(place < seen if rising else place > seen)
    backwards = page.before is not None and page.after is None
    columns = (table.c.created_at, table.c.id)
    falling = rising == backwards
    ordered = query.order_by(*(column.desc() if falling else column.asc() for column in columns))
    rows = await database.rows(ordered.limit(page.limit))
    return rows[::-1] if backwards else rows


async def _place_of(
    database: Database, table: Table, organisation_id: OrganisationId, field: str, row_id: str
) -> ColumnElement[Any]:
    own = table.c.id == row_id, table.c.organisation_id == organisation_id
    row = await database.row(select(table.c.created_at, table.c.id).where(*own))
    if row is None:
        raise NotFound(f"{field}: no such {table.name.removesuffix('s')}: {row_id!r}")
    return tuple_(row.created_at, row.id)


async def count(database: Database, table: Table, condition: ColumnElement[bool]) -> int:
    """Return the number of rows."""
    row = await database.row(select(func.count()).select_from(table).where(condition))
    return int(row[0]) if row else 0


def containing(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """WHERE clause: the column contains the text, in any case."""
    return column.icontains(text, autoescape=True)

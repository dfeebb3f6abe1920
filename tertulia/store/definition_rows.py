"""The rows of agents and groups: found by id or name, marked when deleted. Deleted rows are not found."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Table, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.errors import Conflict
from tertulia.core.ids import OrganisationId
from tertulia.core.records import SaveOutcome
from tertulia.store.database import Database

_MAX_COMPARED = 500
_MAX_SUGGESTED = 3


def active(table: Table, organisation_id: OrganisationId | BindParameter[str]) -> ColumnElement[bool]:
    """WHERE clause: rows of `organisation_id` that are not deleted."""
    return (table.c.organisation_id == organisation_id) & table.c.deleted_at.is_(None)


def by_id_or_name(table: Table, organisation_id: OrganisationId, columns: Sequence[Any], id_or_name: str) -> Any:
    """Query for the row with this id or, failing that, with this name in any case."""
    matches = or_(table.c.id == id_or_name, func.lower(table.c.name) == func.lower(id_or_name))
    by_id_first = (table.c.id == id_or_name).desc()
    return select(*columns).where(active(table, organisation_id), matches).order_by(by_id_first).limit(1)


async def write_row(
    connection: AsyncConnection, table: Table, organisation_id: OrganisationId, values: dict[str, Any]
) -> SaveOutcome:
    """Insert the row, or update the one with its id; a deleted row with the id is restored.

    Raises:
        Conflict: another row has the name, or another organisation the id.
    """
    own = table.c.id == values["id"], table.c.organisation_id == organisation_id
    columns = [*(table.c[name] for name in values), table.c.deleted_at]
    found = (await connection.execute(select(*columns).where(*own).with_for_update())).first()
    if found is None:
        with conflicts_named(table, values):
            await connection.execute(insert(table).values(values | {"organisation_id": organisation_id}))
        return "created"
    if dict(found._mapping) == values | {"deleted_at": None}:
        return "unchanged"
    with conflicts_named(table, values):
        await connection.execute(update(table).where(*own).values(values | revision_bump(table)))
    return "created" if found.deleted_at else "updated"


def check_created(row_id: str, outcome: SaveOutcome) -> None:
    """Refuse to create a row that exists; the caller's transaction is rolled back.

    Raises:
        Conflict: the id is taken.
    """
    if outcome != "created":
        raise Conflict(f"id: {row_id!r} is taken")


def revision_bump(table: Table) -> dict[str, Any]:
    """Column values set by every update: revision + 1, updated_at, not deleted."""
    return {"revision": table.c.revision + 1, "updated_at": func.now(), "deleted_at": None}


async def bump_revision(connection: AsyncConnection, table: Table, row_id: str) -> None:
    """Increase the row's revision because something that belongs to it changed."""
    await connection.execute(update(table).where(table.c.id == row_id).values(revision_bump(table)))


@contextmanager
def conflicts_named(table: Table, values: Mapping[str, Any]) -> Iterator[None]:
    """Context manager around a write: name the value that is taken.

    Raises:
        Conflict: another row has the name, or another organisation the id.
    """
    kind = table.name.removesuffix("s")
    try:
        yield
    except IntegrityError as error:
        if f"uq_{table.name}_name" in str(error.orig):
            raise Conflict(f"name: another {kind} has the name {values['name']!r} already") from None
        if f"pk_{table.name}" in str(error.orig):
            raise Conflict(f"id: {values['id']!r} is taken") from None
        raise


async def missing_name_message(
    database: Database, table: Table, organisation_id: OrganisationId, id_or_name: str
) -> str:
    """Message for an id or a name that does not exist, with names that do: similar ones, else the first few."""
    kind = table.name.removesuffix("s")
    query = select(table.c.name).where(active(table, organisation_id)).order_by(table.c.name).limit(_MAX_COMPARED)
    names = {str(row.name).casefold(): str(row.name) for row in await database.rows(query)}
    similar = get_close_matches(id_or_name.casefold(), names, n=_MAX_SUGGESTED)
    message = not_found_message(kind, [id_or_name])
    if similar:
        return f"{message}; did you mean {' or '.join(repr(names[one]) for one in similar)}?"
    if names:
        first = [repr(name) for name in [*names.values()][:_MAX_SUGGESTED]]
        more = ", …" if len(names) > _MAX_SUGGESTED else ""
        return f"{message}; there are {', '.join(first)}{more}"
    return f"{message}; there is no {kind} yet"


def not_found_message(kind: str, ids: Sequence[str]) -> str:
    """Message for ids that do not exist."""
    return f"no such {kind}: {', '.join(map(repr, ids))}"

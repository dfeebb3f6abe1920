"""The rows of agents and groups: written once, found by id or name, marked when deleted. A deleted one is not there."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Table, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.errors import Conflict
from tertulia.core.ids import OrganisationId
from tertulia.core.records import SaveOutcome


def living(table: Table, organisation_id: OrganisationId | BindParameter[str]) -> ColumnElement[bool]:
    """Of this organisation, and not deleted."""
    return (table.c.organisation_id == organisation_id) & table.c.deleted_at.is_(None)


def by_id_or_name(table: Table, organisation_id: OrganisationId, columns: Sequence[Any], which: str) -> Any:
    """The query for the one of that id or, else, of that name, whatever its case."""
    matches = or_(table.c.id == which, func.lower(table.c.name) == func.lower(which))
    by_id_first = (table.c.id == which).desc()
    return select(*columns).where(living(table, organisation_id), matches).order_by(by_id_first).limit(1)


async def write_row(
    connection: AsyncConnection, table: Table, organisation_id: OrganisationId, values: dict[str, Any]
) -> SaveOutcome:
    """Create the row, or bring the one of that id up to date; a deleted one of that id comes back.

    Raises:
        Conflict: another one bears the name, or the id belongs to somebody else.
    """
    own = table.c.id == values["id"], table.c.organisation_id == organisation_id
    columns = [*(table.c[name] for name in values), table.c.deleted_at]
    found = (await connection.execute(select(*columns).where(*own).with_for_update())).first()
    if found is None:
        with refused(table, values):
            await connection.execute(insert(table).values(values | {"organisation_id": organisation_id}))
        return "created"
    if dict(found._mapping) == values | {"deleted_at": None}:
        return "unchanged"
    with refused(table, values):
        await connection.execute(update(table).where(*own).values(values | counted(table)))
    return "created" if found.deleted_at else "updated"


def refuse_taken(row_id: str, outcome: SaveOutcome) -> None:
    """Refuse to create what is there already; the transaction takes back what was written.

    Raises:
        Conflict: with the id.
    """
    if outcome != "created":
        raise Conflict(f"id: {row_id!r} is taken")


def counted(table: Table) -> dict[str, Any]:
    """What every change of a row changes as well."""
    return {"revision": table.c.revision + 1, "updated_at": func.now(), "deleted_at": None}


async def touch(connection: AsyncConnection, table: Table, row_id: str) -> None:
    """Count the row's revision up: something that belongs to it has changed."""
    await connection.execute(update(table).where(table.c.id == row_id).values(counted(table)))


@contextmanager
def refused(table: Table, values: Mapping[str, Any]) -> Iterator[None]:
    """While a row of these values is written: say which of them is taken.

    Raises:
        Conflict: another one bears the name, or the id belongs to somebody else.
    """
    kind = table.name.removesuffix("s")
    try:
        yield
    except IntegrityError as error:
        if f"uq_{table.name}_name" in str(error.orig):
            raise Conflict(f"name: another {kind} already bears the name {values['name']!r}") from None
        if f"pk_{table.name}" in str(error.orig):
            raise Conflict(f"id: {values['id']!r} is taken") from None
        raise


def unknown(kind: str, ids: Sequence[str]) -> str:
    """What to say of ids under which there is nothing."""
    return f"no such {kind}: {', '.join(map(repr, ids))}"

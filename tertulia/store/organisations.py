"""Organisations. Invariant: an organisation's id never changes."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from tertulia.core.errors import InvalidDefinition, NotFound
from tertulia.core.organisations import NewOrganisation, Organisation
from tertulia.store.database import Database
from tertulia.store.tables import organisations


async def create_organisation(database: Database, new: NewOrganisation) -> Organisation:
    """Create an organisation.

    Raises:
        InvalidDefinition: the id is taken.
    """
    statement = insert(organisations).values(id=new.id, name=new.name).on_conflict_do_nothing().returning(organisations)
    row = await database.row(statement)
    if row is None:
        raise InvalidDefinition(f"an organisation {new.id!r} exists already")
    return Organisation.model_validate(row._asdict())


async def list_organisations(database: Database) -> list[Organisation]:
    """Return all organisations, by id."""
    rows = await database.rows(select(organisations).order_by(organisations.c.id))
    return [Organisation.model_validate(row._asdict()) for row in rows]


async def find_organisation(database: Database, organisation_id: str) -> Organisation:
    """Return one organisation.

    Raises:
        NotFound: no such organisation.
    """
    row = await database.row(select(organisations).where(organisations.c.id == organisation_id))
    if row is None:
        remedy = f"`tertulia organisations create {organisation_id}` makes one"
        raise NotFound(f"no organisation {organisation_id!r}: {remedy}")
    return Organisation.model_validate(row._asdict())

"""Organisations: whose the rows are. An organisation's id is what an operator types, and never changes."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from tertulia.core.errors import InvalidDefinition, NotFound
from tertulia.core.organisations import NewOrganisation, Organisation
from tertulia.store.database import Database
from tertulia.store.tables import organisations


async def create_organisation(database: Database, new: NewOrganisation) -> Organisation:
    """Make an organisation.

    Raises:
        InvalidDefinition: there is one of that id.
    """
    making = insert(organisations).values(id=new.id, name=new.name).on_conflict_do_nothing().returning(organisations)
    row = await database.row(making)
    if row is None:
        raise InvalidDefinition(f"an organisation {new.id!r} exists already")
    return Organisation.model_validate(row._asdict())


async def list_organisations(database: Database) -> list[Organisation]:
    """All of them, by id."""
    rows = await database.rows(select(organisations).order_by(organisations.c.id))
    return [Organisation.model_validate(row._asdict()) for row in rows]


async def find_organisation(database: Database, organisation_id: str) -> Organisation:
    """One organisation.

    Raises:
        NotFound: there is none of that id.
    """
    row = await database.row(select(organisations).where(organisations.c.id == organisation_id))
    if row is None:
        remedy = f"`tertulia organisations create {organisation_id}` makes one"
        raise NotFound(f"no organisation {organisation_id!r}: {remedy}")
    return Organisation.model_validate(row._asdict())

"""Organisations."""

from datetime import datetime

from tertulia.core.agents import Identifier
from tertulia.core.base import Definition, Record
from tertulia.core.ids import OrganisationId


class Organisation(Record):
    """Whoever agents, groups, conversations and keys belong to."""

    id: OrganisationId
    name: str
    created_at: datetime


class NewOrganisation(Definition):
    """An organisation that is to be made."""

    id: Identifier
    name: str

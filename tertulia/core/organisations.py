"""Organisations."""

from datetime import datetime

from tertulia.core.base import Definition, Record
from tertulia.core.ids import OrganisationId
from tertulia.core.names import Identifier


class Organisation(Record):
    """Whoever agents, groups, conversations and keys belong to."""

    id: OrganisationId
    name: str
    created_at: datetime


class NewOrganisation(Definition):
    """An organisation that is to be made."""

    id: Identifier
    name: str

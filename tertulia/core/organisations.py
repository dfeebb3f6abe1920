"""Organisations."""

from datetime import datetime

from tertulia.core.base import Definition, Record
from tertulia.core.ids import OrganisationId
from tertulia.core.names import Identifier


class Organisation(Record):
    """Owner of agents, groups, conversations and keys."""

    id: OrganisationId
    name: str
    created_at: datetime


class NewOrganisation(Definition):
    """Request to create an organisation."""

    id: Identifier
    name: str

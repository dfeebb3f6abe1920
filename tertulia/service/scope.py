"""Organisation scope. Invariant: a service reads and writes rows of one organisation; there is no unscoped service."""

from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowHandle

from tertulia.core.ids import OrganisationId
from tertulia.core.status import ConversationStatus
from tertulia.service.connection import Connection
from tertulia.store.conversations import check_owner
from tertulia.store.database import Database


@dataclass(frozen=True)
class OrganisationScope:
    """The connections, limited to what belongs to one organisation."""

    connection: Connection
    organisation_id: OrganisationId

    @property
    def database(self) -> Database:
        """The pool of database connections."""
        return self.connection.database

    @property
    def temporal(self) -> Client:
        """The Temporal client."""
        return self.connection.temporal

    async def check_conversation(self, conversation_id: str) -> None:
        """Refuse a conversation of another organisation.

        Raises:
            NotFound: the organisation has no conversation of this id.
        """
        await check_owner(self.database, conversation_id, self.organisation_id)

    def workflow_handle(self, conversation_id: str) -> WorkflowHandle[Any, ConversationStatus]:
        """Return Temporal's handle of the conversation's workflow. The caller checks the scope first."""
        return self.temporal.get_workflow_handle(conversation_id, result_type=ConversationStatus)

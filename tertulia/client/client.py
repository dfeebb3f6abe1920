"""The typed client: start conversations, steer them, read them. The command line is a thin layer over it."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Self

from psycopg.errors import UndefinedColumn, UndefinedTable
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from tertulia.client.backend import Answer, Conversing
from tertulia.client.manifest import Applied, DefinitionFile
from tertulia.client.shelf import apply_definitions
from tertulia.configuration import Configuration
from tertulia.core.commands import (
    COMMAND_NAMES,
    DEFAULT_SENDER,
    AnyCommand,
    PostMessage,
    Receipt,
    checked,
    with_command_id,
)
from tertulia.core.errors import Unavailable
from tertulia.core.ids import DEFAULT_ORGANISATION, ConversationId, OrganisationId
from tertulia.core.keys import MadeKey, NewKey
from tertulia.core.paging import MAX_PAGE, Page
from tertulia.core.records import (
    ConversationRow,
    FinishedTurn,
    KeyRow,
    MemberRow,
    MembershipChange,
    Message,
    Occurrence,
)
from tertulia.core.state import TurnSummary
from tertulia.core.status import ConversationStatus
from tertulia.service.command_updates import (
    QUERY_TIMEOUT,
    QUERY_TRIES,
    UNANSWERED,
    answered,
    send_update,
    why_unanswered,
)
from tertulia.service.conversation_events import events_of
from tertulia.service.conversation_start import start_conversation
from tertulia.service.conversation_status import answer, beginning, present_status
from tertulia.service.group_changes import change_group
from tertulia.service.keys import create_key
from tertulia.store.conversations import check_owner, find_conversation, list_conversations
from tertulia.store.database import Database
from tertulia.store.groups import find_group
from tertulia.store.keys import list_keys, revoke_key
from tertulia.store.membership import read_changes, read_members
from tertulia.store.notifications import Listener
from tertulia.store.organisations import find_organisation
from tertulia.store.transcript import read_messages
from tertulia.store.turns import read_turns
from tertulia.workflows.conversation import GroupConversation
from tertulia.workflows.plugin import TertuliaPlugin

_UNANSWERED_STATUS = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
_PAGE = 500
_PATIENCE_SECONDS = 10.0


class Tertulia(Conversing):
    """A connection to a running system: its Temporal server and its database.

    Every method raises a `tertulia.core.errors.TertuliaError` that is meant to be read: `NotFound`, `CommandRefused`,
    `ConversationClosed`, `Unavailable`.
    """

    def __init__(
        self,
        temporal: Client,
        database: Database,
        task_queue: str,
        *,
        organisation_id: OrganisationId = DEFAULT_ORGANISATION,
        guarded: bool = False,
        reached: asyncio.Event | None = None,
    ) -> None:
        self.temporal = temporal
        self.database = database
        self.task_queue = task_queue
        self.organisation_id = organisation_id
        """Whose agents, groups and conversations these are."""
        self._guarded = guarded
        self._reached = reached or asyncio.Event()

    def within(self, organisation_id: OrganisationId) -> Self:
        """The same connection for one who may see and change what belongs to that organisation, and nothing else."""
        return type(self)(
            self.temporal,
            self.database,
            self.task_queue,
            organisation_id=organisation_id,
            guarded=True,
            reached=self._reached,
        )

    async def check(self, conversation_id: str) -> None:
        """Refuse a conversation of another organisation, where that is to be guarded.

        Raises:
            NotFound: for this organisation there is none of that id.
        """
        if self._guarded:
            await check_owner(self.database, conversation_id, self.organisation_id)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, configuration: Configuration, *, lazy: bool = False, connections: int = 2
    ) -> AsyncIterator[Self]:
        """A client of the configured servers. A lazy one connects to Temporal with its first question to it: what only
        reads the database needs none. `connections` to the database are kept open; when all are busy there are more.

        Raises:
            ConfigurationError: a server is not configured and no embedded stack runs.
            Unavailable: a server does not answer.
        """
        connect_config = configuration.temporal_connect_config()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                temporal = await Client.connect(
                    **connect_config, plugins=[TertuliaPlugin(configuration.encryption_keys)], lazy=lazy
                )
        except (RuntimeError, TimeoutError):
            raise Unavailable(_no_temporal(connect_config["target_host"])) from None
        database = Database(configuration.database_url, pool_size=connections, patience_seconds=_PATIENCE_SECONDS)
        async with database:
            try:
                yield cls(temporal, database, configuration.task_queue)
            except DBAPIError as error:
                raise Unavailable(_database_trouble(error)) from None
            except TimeoutError:
                raise Unavailable("the database does not answer") from None

    async def apply(self, file: DefinitionFile) -> list[Applied]:
        """Create or update agents and groups; the conversations of a group that changes are told."""
        change = partial(change_group, self, self.organisation_id)
        return await apply_definitions(self.database, self.organisation_id, file, change)

    async def start(
        self,
        group: str,
        message: str,
        *,
        conversation_id: str | None = None,
        sender: str = DEFAULT_SENDER,
        close_after_round: bool = False,
        continue_as_new_after_turns: int | None = None,
    ) -> ConversationId:
        """Start a conversation of `group` (id or name) with its first message.

        Raises:
            NotFound: no such group.
            CommandRefused: the id is taken, the group is empty, or the message cannot be posted.
        """
        found = await find_group(self.database, self.organisation_id, group)
        new_id = ConversationId(conversation_id or f"conversation-{uuid.uuid4()}")
        await start_conversation(
            self,
            found,
            new_id,
            checked(PostMessage, text=message, sender=sender),
            close_after_round=close_after_round,
            continue_as_new_after_turns=continue_as_new_after_turns,
        )
        return new_id

    async def send(self, conversation_id: str, command: AnyCommand) -> Receipt:
        """Send any command and wait for its receipt, which comes at once, before it takes effect.

        A command without an id gets one. Sent again with the same id, it counts once.
        """
        await self.check(conversation_id)
        return await send_update(
            self, conversation_id, COMMAND_NAMES[type(command)], with_command_id(command, str(uuid.uuid4()))
        )

    async def status(self, conversation_id: str) -> ConversationStatus:
        """What the conversation tells of itself; of a closed one, its last word, which the database keeps."""
        await self.check(conversation_id)
        try:
            status: ConversationStatus = await self._query(conversation_id, GroupConversation.status)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise Unavailable(why_unanswered(error)) from None
        else:
            return status
        row = await find_conversation(self.database, conversation_id)
        if row.final_status is None:
            raise Unavailable(f"Temporal does not know {conversation_id!r}, which the database has as open")
        return ConversationStatus.model_validate(row.final_status)

    async def present_status(self, conversation_id: str) -> ConversationStatus:
        """As `status`, but a closed conversation is read from the database: that needs no worker."""
        return await present_status(self, conversation_id)

    async def answer(self, conversation_id: str) -> Answer:
        """What the workflow says of itself, and how far the conversation's events had come by then."""
        return await answer(self, conversation_id)

    async def recent_turns(self, conversation_id: str) -> list[TurnSummary]:
        """The last turns, as the workflow remembers them."""
        await self.check(conversation_id)
        return await answered(self._query(conversation_id, GroupConversation.recent_turns))

    async def reach_temporal(self) -> None:
        """Connect to Temporal, if that has not been done yet.

        Raises:
            Unavailable: no server answers.
        """
        if self._reached.is_set():
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.temporal.service_client.check_health(timeout=timedelta(seconds=_PATIENCE_SECONDS))
        except (RPCError, RuntimeError, TimeoutError):
            raise Unavailable(_no_temporal(self.temporal.service_client.config.target_host)) from None
        self._reached.set()

    async def _query(self, conversation_id: str, query: Any) -> Any:
        await self.reach_temporal()
        # A worker that died a moment ago still counts as the conversation's own: the query is sent to it in vain.
        for tries_left in reversed(range(QUERY_TRIES)):
            try:
                return await self.handle(conversation_id).query(query, rpc_timeout=QUERY_TIMEOUT)
            except RPCError as error:
                if tries_left == 0 or error.status not in _UNANSWERED_STATUS:
                    raise
            except WorkflowQueryFailedError as error:
                raise Unavailable(f"the worker cannot tell: {error}") from None
        return None

    async def transcript(self, conversation_id: str, *, after_seq: int = 0) -> AsyncIterator[Message]:
        """Every message after `after_seq`, in order, read page by page.

        Raises:
            NotFound: no such conversation.
        """
        await self.conversation(conversation_id)
        while page := await read_messages(self.database, conversation_id, after_seq=after_seq, limit=_PAGE):
            for message in page:
                yield message
            after_seq = page[-1].seq

    async def turns(self, conversation_id: str, *, after_turn: int = 0) -> AsyncIterator[FinishedTurn]:
        """Every turn after `after_turn`: who, why, at what cost."""
        await self.check(conversation_id)
        while page := await read_turns(self.database, conversation_id, after_turn=after_turn, limit=_PAGE):
            for turn in page:
                yield turn
            after_turn = page[-1].turn

    async def membership(
        self, conversation_id: str, *, after_epoch: int = 0, limit: int = 1_000
    ) -> list[MembershipChange]:
        """The audit of the roster's changes."""
        await self.check(conversation_id)
        return await read_changes(self.database, conversation_id, after_epoch=after_epoch, limit=limit)

    async def members(self, conversation_id: str) -> list[MemberRow]:
        """Everyone who is or was in the conversation, and how far each has read."""
        await self.check(conversation_id)
        return await read_members(self.database, conversation_id)

    async def conversation(self, conversation_id: str) -> ConversationRow:
        """The conversation's row.

        Raises:
            NotFound: there is none. One that was started a moment ago may not have a row yet.
        """
        return await find_conversation(self.database, conversation_id, self.organisation_id if self._guarded else None)

    async def conversations(self, *, limit: int = 50) -> list[ConversationRow]:
        """The newest conversations, newest first."""
        rows: list[ConversationRow] = []
        while len(rows) < limit:
            after = rows[-1].conversation_id if rows else None
            page = Page(after=after, limit=min(limit - len(rows), MAX_PAGE), order="desc")
            found = await list_conversations(self.database, self.organisation_id, page)
            rows += found
            if len(found) < page.limit:
                break
        return rows

    async def beginning(self, conversation_id: str, *, last: int | None = None) -> int:
        """Behind which event to begin to watch: that before the last so many messages; None = from the start.

        Raises:
            NotFound: there is no such conversation.
        """
        return await beginning(self, conversation_id, last=last)

    async def events(
        self, conversation_id: str, after: int = 0, *, deltas: bool = False
    ) -> AsyncGenerator[Occurrence, None]:
        """Every event after `after`, once and in order, as it happens, until the conversation is closed."""
        async with Listener(self.database) as listener:
            occurrences = events_of(self.database, listener, conversation_id, after, deltas=deltas)
            async with aclosing(occurrences):
                async for occurrence in occurrences:
                    yield occurrence

    async def make_key(self, new: NewKey, organisation: str | None = None) -> MadeKey:
        """Make a key for the API; of this client's own organisation, unless another one is named."""
        return await create_key(self.database, await self._owner(organisation), new)

    async def keys(self, organisation: str | None = None) -> list[KeyRow]:
        """An organisation's keys, the oldest first, the revoked ones included."""
        owner = await self._owner(organisation)
        rows: list[KeyRow] = []
        while page := await list_keys(self.database, owner, after=rows[-1].id if rows else None, limit=MAX_PAGE):
            rows += page
        return rows

    async def revoke_key(self, key_id: str, organisation: str | None = None) -> KeyRow:
        """Make a key invalid, at once and for ever."""
        return await revoke_key(self.database, await self._owner(organisation), key_id)

    async def _owner(self, organisation: str | None) -> OrganisationId:
        if organisation is None:
            return self.organisation_id
        return (await find_organisation(self.database, organisation)).id

    async def is_running(self, conversation_id: str) -> bool:
        """Whether Temporal has the conversation as open."""
        await self.reach_temporal()
        try:
            description = await self.handle(conversation_id).describe(rpc_timeout=timedelta(seconds=10))
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise Unavailable(UNANSWERED) from None
        return description.status is WorkflowExecutionStatus.RUNNING

    def handle(self, conversation_id: str) -> WorkflowHandle[Any, Any]:
        """Temporal's own handle of the conversation's workflow."""
        return self.temporal.get_workflow_handle_for(GroupConversation.run, conversation_id)


def _no_temporal(address: str) -> str:
    return f"no Temporal server answers at {address}; is it running?"


def _database_trouble(error: DBAPIError) -> str:
    if isinstance(error.orig, UndefinedTable | UndefinedColumn):
        return "the database lacks tables of this version; `tertulia migrate` brings it up to date"
    return f"the database: {' '.join(str(error.orig).split())}"

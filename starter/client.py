"""The typed client: start conversations, steer them, read them. The command line is a thin layer over it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Self

from psycopg.errors import UndefinedColumn, UndefinedTable
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from configuration import Configuration
from groups.commands import (
    COMMANDS,
    DEFAULT_SENDER,
    AddMember,
    AnyCommand,
    MuteMember,
    Pause,
    PostMessage,
    Receipt,
    ReinstateMember,
    RemoveMember,
    ReorderMembers,
    ReplaceMember,
    Resume,
    Stop,
    UnmuteMember,
    UpdateSettings,
)
from groups.door import accept
from groups.errors import CommandRefused, Unavailable
from groups.ids import CommandId, ConversationId
from groups.model import explain
from groups.state import ConversationState, TurnBrief
from groups.status import ConversationStatus
from starter.definitions import Applied, DefinitionFile, apply_definitions
from starter.sending import QUERY_TIMEOUT, QUERY_TRIES, UNANSWERED, answered, send_update
from store.conversations import ConversationRow, find_conversation, list_conversations
from store.database import Database
from store.definitions import find_group
from store.membership import MemberRow, MembershipChange, read_changes, read_members
from store.transcript import Message, read_messages
from store.turns import FinishedTurn, read_turns
from workflows.conversation import GroupConversation
from workflows.display import PHASE, summary
from workflows.plugin import TertuliaPlugin

_COMMAND_NAMES = {command: name for name, command in COMMANDS.items()}
_UNANSWERED_STATUS = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
_PAGE = 500
_PATIENCE_SECONDS = 10.0
_WORKFLOW_TASK_TIMEOUT = timedelta(seconds=5)
"""After how long a workflow task is given to another worker: one that was killed with it says nothing."""


class Tertulia:
    """A connection to a running system: its Temporal server and its database.

    Every method raises a `groups.errors.TertuliaError` that is meant to be read: `NotFound`, `CommandRefused`,
    `ConversationClosed`, `Unavailable`.
    """

    def __init__(self, temporal: Client, database: Database, task_queue: str) -> None:
        self.temporal = temporal
        self.database = database
        self._task_queue = task_queue
        self._reached = False

    @classmethod
    @asynccontextmanager
    async def connect(cls, configuration: Configuration, *, lazy: bool = False) -> AsyncIterator[Self]:
        """A client of the configured servers. A lazy one connects to Temporal with its first question to it: what only
        reads the database needs none.

        Raises:
            ConfigurationError: a server is not configured and no embedded stack runs.
            Unavailable: a server does not answer.
        """
        connect_config = configuration.temporal_connect_config()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                temporal = await Client.connect(**connect_config, plugins=[TertuliaPlugin()], lazy=lazy)
        except (RuntimeError, TimeoutError):
            raise Unavailable(_no_temporal(connect_config["target_host"])) from None
        async with Database(configuration.database_url, pool_size=2, patience_seconds=_PATIENCE_SECONDS) as database:
            try:
                yield cls(temporal, database, configuration.task_queue)
            except DBAPIError as error:
                raise Unavailable(_database_trouble(error)) from None
            except TimeoutError:
                raise Unavailable("the database does not answer") from None

    async def apply(self, file: DefinitionFile) -> list[Applied]:
        """Create or update agents and groups."""
        return await apply_definitions(self.database, file)

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
        found = await find_group(self.database, group)
        if not found.agent_ids:
            raise CommandRefused(f"Empty group: {found.name!r} has no agents to talk")
        new_id = ConversationId(conversation_id or f"conversation-{uuid.uuid4()}")
        state = ConversationState(
            group=found.id,
            conversation_id=new_id,
            close_after_round=close_after_round,
            continue_as_new_after_turns=continue_as_new_after_turns,
            settings=found.settings,
        )
        await self.reach_temporal()
        post = _checked(PostMessage, text=message, sender=sender)
        state, _ = accept(state, "post_message", post, CommandId(f"{new_id}:start"))
        try:
            await answered(
                self.temporal.start_workflow(
                    GroupConversation.run,
                    state,
                    id=new_id,
                    task_queue=self._task_queue,
                    task_timeout=_WORKFLOW_TASK_TIMEOUT,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    static_summary=summary(found.name, found.description),
                    static_details=found.description or None,
                )
            )
        except WorkflowAlreadyStartedError:
            raise CommandRefused(f"a conversation {new_id!r} exists already; `tertulia say` continues it") from None
        return new_id

    async def send(self, conversation_id: str, command: AnyCommand) -> Receipt:
        """Send any command and wait for its receipt, which comes at once, before it takes effect.

        A command without an id gets one. Sent again with the same id, it counts once.
        """
        if command.command_id is None:
            command = command.model_copy(update={"command_id": str(uuid.uuid4())})
        return await send_update(self, conversation_id, _COMMAND_NAMES[type(command)], command)

    async def post(
        self, conversation_id: str, text: str, *, sender: str = DEFAULT_SENDER, message_id: str | None = None
    ) -> Receipt:
        """Say something in a conversation."""
        return await self.send(conversation_id, _checked(PostMessage, text=text, sender=sender, command_id=message_id))

    async def add_member(
        self,
        conversation_id: str,
        agent: str,
        *,
        position: int | None = None,
        state: str = "active",
        catch_up: str | None = None,
        stands_in_for: str | None = None,
        command_id: str | None = None,
    ) -> Receipt:
        """Let an agent (id or name) join."""
        values = {
            "agent": agent,
            "position": position,
            "state": state,
            "catch_up": catch_up,
            "stands_in_for": stands_in_for,
        }
        return await self.send(conversation_id, _checked(AddMember, **values, command_id=command_id))

    async def remove_member(
        self, conversation_id: str, agent: str, *, in_flight: str | None = None, command_id: str | None = None
    ) -> Receipt:
        """Let a member leave; `in_flight` says what becomes of the turn it may be taking."""
        values = {"agent": agent, "in_flight": in_flight}
        return await self.send(conversation_id, _checked(RemoveMember, **values, command_id=command_id))

    async def replace_member(
        self,
        conversation_id: str,
        agent: str,
        replacement: str,
        *,
        catch_up: str | None = None,
        in_flight: str | None = None,
        command_id: str | None = None,
    ) -> Receipt:
        """Let another agent take a member's place."""
        values = {"agent": agent, "replacement": replacement, "catch_up": catch_up, "in_flight": in_flight}
        return await self.send(conversation_id, _checked(ReplaceMember, **values, command_id=command_id))

    async def reorder_members(
        self, conversation_id: str, agents: Sequence[str], *, command_id: str | None = None
    ) -> Receipt:
        """Give the roster a new order: every member once."""
        return await self.send(conversation_id, _checked(ReorderMembers, agents=tuple(agents), command_id=command_id))

    async def mute_member(self, conversation_id: str, agent: str, *, command_id: str | None = None) -> Receipt:
        """Let a member stay and read, but not speak."""
        return await self.send(conversation_id, _checked(MuteMember, agent=agent, command_id=command_id))

    async def unmute_member(self, conversation_id: str, agent: str, *, command_id: str | None = None) -> Receipt:
        """Let a muted member speak again, or one on standby speak for itself."""
        return await self.send(conversation_id, _checked(UnmuteMember, agent=agent, command_id=command_id))

    async def reinstate_member(self, conversation_id: str, agent: str, *, command_id: str | None = None) -> Receipt:
        """Take an isolated or suspect member, or manager, for healthy at once."""
        return await self.send(conversation_id, _checked(ReinstateMember, agent=agent, command_id=command_id))

    async def update_settings(
        self, conversation_id: str, settings: dict[str, Any], *, command_id: str | None = None
    ) -> Receipt:
        """Change settings of this conversation alone."""
        return await self.send(conversation_id, _checked(UpdateSettings, **settings, command_id=command_id))

    async def pause(self, conversation_id: str, reason: str = "", *, command_id: str | None = None) -> Receipt:
        """Let the conversation rest from the next turn boundary on."""
        return await self.send(conversation_id, _checked(Pause, reason=reason, command_id=command_id))

    async def resume(self, conversation_id: str, *, command_id: str | None = None) -> Receipt:
        """Let a paused conversation go on; while nobody can speak, try a member at once."""
        return await self.send(conversation_id, _checked(Resume, command_id=command_id))

    async def stop(self, conversation_id: str, reason: str = "", *, command_id: str | None = None) -> Receipt:
        """Close the conversation at the next turn boundary."""
        return await self.send(conversation_id, _checked(Stop, reason=reason, command_id=command_id))

    async def status(self, conversation_id: str) -> ConversationStatus:
        """What the conversation tells of itself; of a closed one, its last word, which the database keeps."""
        try:
            status: ConversationStatus = await self._query(conversation_id, GroupConversation.status)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise Unavailable(UNANSWERED) from None
        else:
            return status
        row = await find_conversation(self.database, conversation_id)
        if row.final_status is None:
            raise Unavailable(f"Temporal does not know {conversation_id!r}, which the database has as open")
        return ConversationStatus.model_validate(row.final_status)

    async def recent_turns(self, conversation_id: str) -> list[TurnBrief]:
        """The last turns, as the workflow remembers them."""
        return await answered(self._query(conversation_id, GroupConversation.recent_turns))

    async def reach_temporal(self) -> None:
        """Connect to Temporal, if that has not been done yet.

        Raises:
            Unavailable: no server answers.
        """
        if self._reached:
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.temporal.service_client.check_health(timeout=timedelta(seconds=_PATIENCE_SECONDS))
        except (RPCError, RuntimeError, TimeoutError):
            raise Unavailable(_no_temporal(self.temporal.service_client.config.target_host)) from None
        self._reached = True

    async def _query(self, conversation_id: str, query: Any) -> Any:
        await self.reach_temporal()
        # A worker that died a moment ago still counts as the conversation's own: the query is sent to it in vain.
        for tries_left in reversed(range(QUERY_TRIES)):
            try:
                return await self.handle(conversation_id).query(query, rpc_timeout=QUERY_TIMEOUT)
            except RPCError as error:
                if tries_left == 0 or error.status not in _UNANSWERED_STATUS:
                    raise
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
        while page := await read_turns(self.database, conversation_id, after_turn=after_turn, limit=_PAGE):
            for turn in page:
                yield turn
            after_turn = page[-1].turn

    async def membership(self, conversation_id: str, *, after_epoch: int = 0) -> list[MembershipChange]:
        """The audit of the roster's changes."""
        return await read_changes(self.database, conversation_id, after_epoch=after_epoch)

    async def members(self, conversation_id: str) -> list[MemberRow]:
        """Everyone who is or was in the conversation, and how far each has read."""
        return await read_members(self.database, conversation_id)

    async def conversation(self, conversation_id: str) -> ConversationRow:
        """The conversation's row.

        Raises:
            NotFound: there is none. One that was started a moment ago may not have a row yet.
        """
        return await find_conversation(self.database, conversation_id)

    async def conversations(self, *, limit: int = 50) -> list[tuple[ConversationRow, str]]:
        """The newest conversations, each with its phase."""
        rows = await list_conversations(self.database, limit)
        phases = await self._phases(limit)
        return [(row, "closed" if row.closed_at else phases.get(row.conversation_id, "unknown")) for row in rows]

    async def _phases(self, limit: int) -> dict[str, str]:
        await self.reach_temporal()
        running = "WorkflowType = 'GroupConversation' AND ExecutionStatus = 'Running'"
        phases = {}
        try:
            async for execution in self.temporal.list_workflows(running, page_size=limit, limit=10 * limit):
                phases[execution.id] = execution.typed_search_attributes.get(PHASE) or "initializing"
        except RPCError:
            raise Unavailable(UNANSWERED) from None
        return phases

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


def _checked(command: type[Any], **values: Any) -> Any:
    try:
        return command(**values)
    except ValidationError as error:
        raise CommandRefused(explain(error)) from None

"""A handle of one conversation: post, steer, read, follow."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from tertulia.client.backend import ConversationBackend
from tertulia.client.members import Members
from tertulia.core.base import validated
from tertulia.core.commands import (
    DEFAULT_SENDER,
    AnyCommand,
    Pause,
    PostMessage,
    Receipt,
    Resume,
    Stop,
    UpdateSettings,
    checked,
    with_command_id,
)
from tertulia.core.conversations import NewFork
from tertulia.core.ids import ConversationId
from tertulia.core.paging import MAX_PAGE
from tertulia.core.records import ConversationEvent, ConversationRow, FinishedTurn, Message, StatusAt, StreamEvent
from tertulia.core.state import TurnSummary
from tertulia.core.status import ConversationStatus, is_round_over

_STATUS_CHECK_SECONDS = 2.0
"""While a round is awaited, the status is read again after this time without a phase event."""


class Conversation:
    """One conversation. Commands are answered at once, before they take effect.

    Every command takes an id: the same id with the same content sent again counts once. Without one, an id is drawn.

    Commands raise:
        CommandRefused: the conversation refused the command; the message says why.
        ConversationClosed: the conversation has ended.
        NotFound: no such conversation or agent.
        Unavailable: no answer; sending the command again with the same id is safe.
    """

    def __init__(self, backend: ConversationBackend, conversation_id: str) -> None:
        self._backend = backend
        self.id = ConversationId(conversation_id)
        """The conversation's id, which is also its workflow id."""
        self.members = Members(backend, conversation_id, self.send)
        """The members: list them, add, remove, replace, reorder, mute them."""

    def __repr__(self) -> str:
        return f"Conversation({self.id!r})"

    async def send(self, command: AnyCommand) -> Receipt:
        """Send a command that the caller has built. The methods below build them.

        Args:
            command: the command; one without `command_id` gets an id.

        Returns:
            The receipt. The command itself takes effect at the next turn boundary.
        """
        return await self._backend.send(self.id, with_command_id(command, str(uuid.uuid4())))

    async def post(self, text: str, *, sender: str = DEFAULT_SENDER, message_id: str | None = None) -> Receipt:
        """Post a message.

        Args:
            text: the message.
            sender: who writes it.
            message_id: the same id posted again counts once.
        """
        return await self.send(checked(PostMessage, text=text, sender=sender, command_id=message_id))

    async def update_settings(self, settings: Mapping[str, Any], *, command_id: str | None = None) -> Receipt:
        """Change settings of this conversation alone, from the next turn boundary on.

        Args:
            settings: fields of `GroupSettings`, and `max_turns` or `termination_token` of the manager.
            command_id: the same id sent again counts once.
        """
        return await self.send(checked(UpdateSettings, **settings, command_id=command_id))

    async def pause(self, reason: str = "", *, command_id: str | None = None) -> Receipt:
        """Pause the conversation at the next turn boundary.

        Args:
            reason: shown in the status, the events and the Temporal UI.
            command_id: the same id sent again counts once.
        """
        return await self.send(checked(Pause, reason=reason, command_id=command_id))

    async def resume(self, *, command_id: str | None = None) -> Receipt:
        """Resume a paused conversation; while no member can speak, try an isolated one at once.

        Args:
            command_id: the same id sent again counts once.
        """
        return await self.send(checked(Resume, command_id=command_id))

    async def stop(self, reason: str = "", *, command_id: str | None = None) -> Receipt:
        """Close the conversation at the next turn boundary, for good.

        Args:
            reason: shown in the status, the events and the Temporal UI.
            command_id: the same id sent again counts once.
        """
        return await self.send(checked(Stop, reason=reason, command_id=command_id))

    async def fork(
        self,
        *,
        turn: int | None = None,
        agent_ids: Sequence[str] | None = None,
        model: str | None = None,
        message: str | None = None,
        sender: str = DEFAULT_SENDER,
        id: str | None = None,
    ) -> "Conversation":
        """Start a conversation that shares the first turns of this one.

        Args:
            turn: the last shared turn; None = all turns so far, 0 = none.
            agent_ids: the members in order; None = the present members of this conversation.
            model: a model for every member, instead of their own.
            message: the first message; None = the fork waits for one.
            sender: who writes it.
            id: the fork's id; without one, a readable id is drawn.

        Raises:
            NotFound: no such conversation or agent, or the group was deleted.
            InvalidDefinition: the conversation has not taken that many turns.
            CommandRefused: the id is taken.
        """
        new = validated(
            NewFork,
            turn=turn,
            agent_ids=None if agent_ids is None else tuple(agent_ids),
            model=model,
            message=message,
            sender=sender,
            id=id,
        )
        return Conversation(self._backend, (await self._backend.fork(self.id, new)).conversation_id)

    async def retrieve(self) -> ConversationRow:
        """Return what the database has of the conversation: group, phase, counts, times.

        Raises:
            NotFound: no such conversation.
        """
        return await self._backend.retrieve(self.id)

    async def status(self, *, live: bool = False) -> ConversationStatus:
        """Return the status: phase, roster, usage, pending input, refused signals.

        Args:
            live: ask the workflow even if the conversation is closed. By default a closed conversation's status comes
                from the database, which needs no worker.

        Raises:
            NotFound: no such conversation.
            Unavailable: no answer.
        """
        return await self._backend.status(self.id, live=live)

    async def status_at(self) -> StatusAt:
        """Return the status and the number of the newest event at that time.

        Raises:
            EventsUnavailable: the source of the events does not answer.
            Unavailable: Temporal or the worker does not answer.
        """
        return await self._backend.status_at(self.id)

    async def transcript(self, *, after_seq: int = 0) -> AsyncIterator[Message]:
        """Yield every message with a `seq` greater than `after_seq`, the oldest first.

        Raises:
            NotFound: no such conversation.
        """
        while page := await self._backend.messages(self.id, after=after_seq, limit=MAX_PAGE):
            for message in page:
                yield message
            if len(page) < MAX_PAGE:
                return
            after_seq = page[-1].seq

    async def turns(self, *, after_turn: int = 0) -> AsyncIterator[FinishedTurn]:
        """Yield every turn after turn `after_turn`, the oldest first: speaker, reason, model, cost.

        Raises:
            NotFound: no such conversation.
        """
        while page := await self._backend.turns(self.id, after=after_turn, limit=MAX_PAGE):
            for turn in page:
                yield turn
            if len(page) < MAX_PAGE:
                return
            after_turn = page[-1].turn

    async def recent_turns(self) -> list[TurnSummary]:
        """Return the last turns, as the workflow keeps them.

        Raises:
            NotFound: no such conversation.
            Unavailable: no answer.
        """
        return await self._backend.recent_turns(self.id)

    async def event_cursor(self, *, last: int | None = None) -> int:
        """Return the number of the event after which the last `last` messages follow; None = all messages.

        Raises:
            NotFound: no such conversation.
        """
        return await self._backend.event_cursor(self.id, last=last)

    async def events(self, *, after: int = 0, deltas: bool = False) -> AsyncGenerator[StreamEvent, None]:
        """Yield every event after `after`, once and in order, until the conversation is closed.

        A source that does not answer yields one `Interrupted`; the stream continues when it answers again.

        Args:
            after: number of the last event already seen; 0 = from the start.
            deltas: also yield `LiveDelta`: the text of a turn while the model produces it.

        Raises:
            NotFound: no such conversation.
            InvalidDefinition: the conversation has no event `after` yet.
        """
        async with aclosing(self._backend.events(self.id, after=after, deltas=deltas)) as stream:
            async for event in stream:
                yield event

    async def wait_for_round(self, *, timeout_seconds: float | None = None) -> ConversationStatus:
        """Wait until no round runs and no message waits, or the conversation is paused or closed.

        Args:
            timeout_seconds: how long at most; None = without a limit.

        Returns:
            The status then.

        Raises:
            TimeoutError: the time is over; the round goes on.
            NotFound: no such conversation.
            Unavailable: no answer.
        """
        async with asyncio.timeout(timeout_seconds):
            while True:
                # The place in the events is read before the status: a change between both is read again, not missed.
                last_event = await self._backend.event_cursor(self.id, last=0)
                status = await self._backend.status(self.id)
                if is_round_over(status):
                    return status
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STATUS_CHECK_SECONDS):
                        await self._next_phase(last_event)

    async def _next_phase(self, after: int) -> None:
        async with aclosing(self._backend.events(self.id, after=after)) as stream:
            async for event in stream:
                if isinstance(event, ConversationEvent) and event.kind == "phase":
                    return

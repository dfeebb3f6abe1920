"""`Tertulia.conversations`."""

import builtins
from datetime import datetime
from functools import partial

from tertulia.client.backend import ConversationBackend
from tertulia.client.conversation import Conversation
from tertulia.client.paging import read_list
from tertulia.core.base import validated
from tertulia.core.commands import DEFAULT_SENDER, PostMessage, checked
from tertulia.core.conversations import ConversationFilter, NewConversation
from tertulia.core.errors import CommandRefused, NotFound
from tertulia.core.paging import Order, Page
from tertulia.core.phases import PublicPhase
from tertulia.core.records import ConversationRow

_MAX_SHOWN_IDS = 10


class Conversations:
    """The conversations of the organisation."""

    def __init__(self, backend: ConversationBackend) -> None:
        self._backend = backend

    async def create(
        self,
        group: str,
        message: str,
        *,
        sender: str = DEFAULT_SENDER,
        id: str | None = None,
        close_after_round: bool = False,
        continue_as_new_after_turns: int | None = None,
    ) -> Conversation:
        """Start a conversation of a group with its first message. It runs by itself.

        Args:
            group: the group's id or name.
            message: the first message.
            sender: who writes it.
            id: the conversation's id; without one, a readable id is drawn from the group's name.
            close_after_round: close once the first round has ended and no message waits.
            continue_as_new_after_turns: continue as a new Temporal run after this many turns; None = by the length of
                the history.

        Raises:
            NotFound: no such group.
            CommandRefused: the id is taken, the group is empty, or the message cannot be posted.
            Unavailable: Temporal does not answer.
        """
        checked(PostMessage, text=message, sender=sender)
        new = validated(
            NewConversation,
            group=group,
            message=message,
            sender=sender,
            id=id,
            close_after_round=close_after_round,
            continue_as_new_after_turns=continue_as_new_after_turns,
        )
        return self.handle((await self._backend.create(new)).conversation_id)

    def handle(self, conversation_id: str) -> Conversation:
        """Return a handle of the conversation with this id. No call is made, so the conversation may not exist."""
        return Conversation(self._backend, conversation_id)

    async def retrieve(self, conversation_id: str) -> Conversation:
        """Return a handle of an existing conversation.

        Raises:
            NotFound: no such conversation.
        """
        await self._backend.retrieve(conversation_id)
        return self.handle(conversation_id)

    async def find(self, prefix: str) -> Conversation:
        """Return a handle of the conversation with this id or, failing that, of the only one whose id starts with it.

        Raises:
            NotFound: no id starts with `prefix`.
            CommandRefused: several ids do; the message lists them.
        """
        try:
            return await self.retrieve(prefix)
        except NotFound:
            page = Page(limit=_MAX_SHOWN_IDS, order="desc")
            filter = validated(ConversationFilter, id_prefix=prefix)
            found = await self._backend.list(page, filter) if prefix else []
            if not found:
                raise
        if len(found) > 1:
            ids = ", ".join(row.conversation_id for row in found)
            raise CommandRefused(f"{prefix!r} is the start of several ids: {ids}; write more of it")
        return self.handle(found[0].conversation_id)

    async def list(
        self,
        *,
        group: str | None = None,
        phase: PublicPhase | None = None,
        member: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
        order: Order = "desc",
    ) -> builtins.list[ConversationRow]:
        """Return the conversations that match every given filter, all of them unless there is a `limit`.

        Args:
            group: id or name of the group.
            phase: `ready`, `executing`, `paused` or `closed`.
            member: id or name of a present member.
            created_after: created at this time or later; with a time zone.
            created_before: created before this time; with a time zone.
            limit: how many at most.
            order: `desc` = the newest first.

        Raises:
            InvalidDefinition: a filter is invalid; the message names it.
        """
        filter = _filter(group, phase, member, created_after, created_before)
        read = partial(self._backend.list, filter=filter)
        return await read_list(read, lambda row: row.conversation_id, limit=limit, order=order)

    async def count(
        self,
        *,
        group: str | None = None,
        phase: PublicPhase | None = None,
        member: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> int:
        """Return the number of conversations that match every given filter. See `list` for arguments and errors."""
        return await self._backend.count(_filter(group, phase, member, created_after, created_before))

    async def update(self, conversation_id: str, **settings: object) -> Conversation:
        """Change settings of one conversation and return its handle.

        Args:
            conversation_id: the conversation.
            settings: see `Conversation.update_settings`, which also lists the errors.
        """
        conversation = self.handle(conversation_id)
        await conversation.update_settings(settings)
        return conversation

    async def delete(self, conversation_id: str) -> None:
        """Delete a closed conversation: its transcript, everything recorded of it, and its history in Temporal.

        Raises:
            NotFound: no such conversation.
            Conflict: the conversation is open.
        """
        await self._backend.delete(conversation_id)


def _filter(
    group: str | None,
    phase: PublicPhase | None,
    member: str | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> ConversationFilter:
    return validated(
        ConversationFilter,
        group=group,
        phase=phase,
        member=member,
        created_after=created_after,
        created_before=created_before,
    )

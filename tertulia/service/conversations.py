"""Conversations, managed: started, listed, forked. What steers one that runs is `tertulia.client.client`."""

import uuid

from tertulia.client.client import Tertulia
from tertulia.core.commands import PostMessage
from tertulia.core.conversations import NewConversation, NewFork
from tertulia.core.errors import NotFound
from tertulia.core.ids import ConversationId, OrganisationId
from tertulia.core.paging import Page
from tertulia.service.conversation_start import start_conversation
from tertulia.store.agents import agents_of
from tertulia.store.conversations import ConversationRow, find_conversation, list_conversations
from tertulia.store.definition_rows import unknown
from tertulia.store.forks import fork_at
from tertulia.store.groups import find_group


class Conversations:
    """An organisation's conversations. What belongs to another organisation is not there."""

    def __init__(self, client: Tertulia, organisation_id: OrganisationId) -> None:
        self._client = client.within(organisation_id)
        self._database = client.database
        self._organisation_id = organisation_id

    async def start(self, new: NewConversation) -> ConversationRow:
        """Start a conversation.

        Raises:
            NotFound: no such group.
            CommandRefused: the id is taken, the group is empty, or the message cannot be posted.
        """
        group = await find_group(self._database, self._organisation_id, new.group)
        conversation_id = _id(new.id)
        post = PostMessage(text=new.message, sender=new.sender)
        await start_conversation(self._client, group, conversation_id, post, close_after_round=new.close_after_round)
        return await self.retrieve(conversation_id)

    async def fork(self, source: str, new: NewFork) -> ConversationRow:
        """Start a conversation that shares the beginning of another one.

        Raises:
            NotFound: no such conversation, its group was deleted, or there is no such agent.
            InvalidDefinition: the conversation has not taken so many turns.
            CommandRefused: the id is taken.
        """
        before = await self.retrieve(source)
        group = await find_group(self._database, self._organisation_id, before.group_id)
        agent_ids = new.agent_ids or ()
        found = {agent.id for agent in await agents_of(self._database, self._organisation_id, agent_ids)}
        if missing := [one for one in agent_ids if one not in found]:
            raise NotFound(unknown("agent", missing))
        fork = await fork_at(self._database, ConversationId(source), new.turn, agent_ids)
        if new.model is not None:
            group = group.model_copy(update={"settings": group.settings.model_copy(update={"model": new.model})})
        post = PostMessage(text=new.message, sender=new.sender) if new.message is not None else None
        conversation_id = _id(new.id)
        await start_conversation(self._client, group, conversation_id, post, fork=fork)
        return await self.retrieve(conversation_id)

    async def retrieve(self, conversation_id: str) -> ConversationRow:
        """A conversation's row.

        Raises:
            NotFound: there is none.
        """
        return await find_conversation(self._database, conversation_id, self._organisation_id)

    async def listed(self, page: Page, group_id: str | None = None) -> list[ConversationRow]:
        """A page of the conversations; with a group, of its alone.

        Raises:
            NotFound: there is no conversation of the id in `before` or `after`.
        """
        return await list_conversations(self._database, self._organisation_id, page, group_id=group_id)


def _id(given: str | None) -> ConversationId:
    return ConversationId(given or f"conversation-{uuid.uuid4()}")

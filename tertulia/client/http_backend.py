"""The backend over the REST API: the key decides the organisation."""

import builtins
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from pydantic import JsonValue, TypeAdapter

from tertulia.client.http_connection import NO_CONTENT, HttpConnection
from tertulia.client.http_definitions import HttpDefinitions
from tertulia.client.http_paths import agent_path, block_path, conversation_path, group_path, key_path, quote_id
from tertulia.client.http_shapes import AGENT, AGENTS, BLOCK, BLOCKS, GROUP, GROUPS, agent_body, group_body
from tertulia.client.sse import read_event_stream
from tertulia.core.agents import AgentFilter, AgentPatch, ModelSettings, NewAgent, StoredAgent
from tertulia.core.base import Record
from tertulia.core.blocks import Block, BlockFilter, BlockPatch, NewBlock
from tertulia.core.commands import COMMAND_NAMES, PATHS, AnyCommand, PostMessage, Receipt, UpdateSettings
from tertulia.core.conversations import ConversationFilter, NewConversation, NewFork
from tertulia.core.errors import ApiUnavailable, EventsUnavailable, Unavailable
from tertulia.core.group import ClosePolicy, GroupFilter, NewGroup, StoredGroup
from tertulia.core.ids import ConversationId
from tertulia.core.keys import CreatedKey, NewKey
from tertulia.core.paging import Page
from tertulia.core.patches import GroupPatch
from tertulia.core.records import (
    ConversationRow,
    FinishedTurn,
    KeyRow,
    MemberRow,
    MembershipChange,
    Message,
    StatusAt,
    StreamEvent,
)
from tertulia.core.state import TurnSummary
from tertulia.core.status import ConversationStatus

_AGENT_FIELD_NAMES = {"instructions": "system", "model": "model_settings", "model_name": "model"}
"""Names in the API of fields of `AgentPatch`."""
_MODEL_PREFIX = "openai/"


class _EventCursor(Record):
    after: int


class _AcceptedPost(Record):
    conversation_id: ConversationId
    message_ids: tuple[str, ...]


_ROW = TypeAdapter(dict[str, JsonValue])
_ROWS = TypeAdapter(list[dict[str, JsonValue]])
_COUNT = TypeAdapter(int)
_STATUS = TypeAdapter(ConversationStatus)
_RECEIPT = TypeAdapter(Receipt)
_MESSAGES = TypeAdapter(list[Message])
_TURNS = TypeAdapter(list[FinishedTurn])
_RECENT_TURNS = TypeAdapter(list[TurnSummary])
_MEMBERS = TypeAdapter(list[MemberRow])
_CHANGES = TypeAdapter(list[MembershipChange])
_EVENT_CURSOR = TypeAdapter(_EventCursor)
_ACCEPTED_POST = TypeAdapter(_AcceptedPost)
_KEY = TypeAdapter(KeyRow)
_KEYS = TypeAdapter(list[KeyRow])


class HttpBackend:
    """The resources of the key's organisation, over one connection to the API."""

    def __init__(self, connection: HttpConnection) -> None:
        self.agents = HttpAgents(connection)
        self.blocks = HttpBlocks(connection)
        self.groups = HttpGroups(connection)
        self.conversations = HttpConversations(connection)
        self.keys = HttpKeys(connection)
        self.definitions = HttpDefinitions(connection)


class HttpAgents:
    """Agents under `/v1/agents`."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    async def create(self, new: NewAgent) -> StoredAgent:
        return (await self._connection.post(AGENT, "/agents/", agent_body(new))).stored

    async def retrieve(self, agent_id: str) -> StoredAgent:
        return (await self._connection.get(AGENT, agent_path(agent_id))).stored

    async def list(self, page: Page, filter: AgentFilter | None = None) -> builtins.list[StoredAgent]:
        query = {**_query_params(page), **_query_params(filter)}
        return [agent.stored for agent in await self._connection.get(AGENTS, "/agents/", **query)]

    async def count(self) -> int:
        return await self._connection.get(_COUNT, "/agents/count")

    async def update(self, agent_id: str, patch: AgentPatch, *, expected_revision: int | None = None) -> StoredAgent:
        body = patch.model_dump(mode="json", exclude_unset=True)
        values = {_AGENT_FIELD_NAMES.get(name, name): value for name, value in body.items()}
        if "model" in body and patch.model is None:
            # The API ignores a null here, as Letta's clients expect; the patch means the defaults.
            values["model_settings"] = ModelSettings().model_dump(mode="json")
        if patch.model_name is not None:
            # The API removes one such prefix, which may also be the beginning of the model's real name.
            values["model"] = f"{_MODEL_PREFIX}{patch.model_name}"
        path = agent_path(agent_id)
        return (await self._connection.patch(AGENT, path, values, expected=expected_revision)).stored

    async def delete(self, agent_id: str, *, force: bool = False) -> None:
        await self._connection.delete(agent_path(agent_id), force="true" if force else None)

    async def attach_block(self, agent_id: str, block_id: str) -> StoredAgent:
        path = f"{agent_path(agent_id)}/core-memory/blocks/attach/{quote_id('block', block_id)}"
        return (await self._connection.patch(AGENT, path, {})).stored

    async def detach_block(self, agent_id: str, block_id: str) -> StoredAgent:
        path = f"{agent_path(agent_id)}/core-memory/blocks/detach/{quote_id('block', block_id)}"
        return (await self._connection.patch(AGENT, path, {})).stored


class HttpBlocks:
    """Memory blocks under `/v1/blocks`."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    async def create(self, new: NewBlock) -> Block:
        return await self._connection.post(BLOCK, "/blocks/", new.model_dump(mode="json"))

    async def retrieve(self, block_id: str) -> Block:
        return await self._connection.get(BLOCK, block_path(block_id))

    async def list(self, page: Page, filter: BlockFilter | None = None) -> builtins.list[Block]:
        return await self._connection.get(BLOCKS, "/blocks/", **_query_params(page), **_query_params(filter))

    async def count(self) -> int:
        return await self._connection.get(_COUNT, "/blocks/count")

    async def update(self, block_id: str, patch: BlockPatch, *, expected_version: int | None = None) -> Block:
        body = patch.model_dump(mode="json", exclude_unset=True)
        return await self._connection.patch(BLOCK, block_path(block_id), body, expected=expected_version)

    async def delete(self, block_id: str) -> None:
        await self._connection.delete(block_path(block_id))


class HttpGroups:
    """Groups under `/v1/groups`."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    async def create(self, new: NewGroup) -> StoredGroup:
        return (await self._connection.post(GROUP, "/groups/", group_body(new))).stored

    async def retrieve(self, group_id: str) -> StoredGroup:
        return (await self._connection.get(GROUP, group_path(group_id))).stored

    async def list(self, page: Page, filter: GroupFilter | None = None) -> builtins.list[StoredGroup]:
        path = "/groups/"
        if filter and filter.agent_id is not None:
            path = f"{agent_path(filter.agent_id)}/groups"
            filter = filter.model_copy(update={"agent_id": None})
        found = await self._connection.get(GROUPS, path, **_query_params(page), **_query_params(filter))
        return [group.stored for group in found]

    async def count(self) -> int:
        return await self._connection.get(_COUNT, "/groups/count")

    async def update(self, group_id: str, patch: GroupPatch, *, expected_revision: int | None = None) -> StoredGroup:
        body = patch.model_dump(mode="json", include=patch.model_fields_set)
        path = group_path(group_id)
        return (await self._connection.patch(GROUP, path, body, expected=expected_revision)).stored

    async def delete(self, group_id: str, *, conversations: ClosePolicy = "close") -> None:
        await self._connection.delete(group_path(group_id), conversations=conversations)

    async def attach_block(self, group_id: str, block_id: str) -> StoredGroup:
        path = f"{group_path(group_id)}/blocks/attach/{quote_id('block', block_id)}"
        return (await self._connection.patch(GROUP, path, {})).stored

    async def detach_block(self, group_id: str, block_id: str) -> StoredGroup:
        path = f"{group_path(group_id)}/blocks/detach/{quote_id('block', block_id)}"
        return (await self._connection.patch(GROUP, path, {})).stored

    async def post(self, group_id: str, messages: Sequence[PostMessage]) -> ConversationId:
        body = {
            "background": True,
            "messages": [
                {"role": "user", "content": one.text, "name": one.sender, "command_id": one.command_id}
                for one in messages
            ],
        }
        path = f"{group_path(group_id)}/messages"
        return (await self._connection.post(_ACCEPTED_POST, path, body)).conversation_id

    async def reset(self, group_id: str) -> None:
        await self._connection.patch(NO_CONTENT, f"{group_path(group_id)}/reset-messages", {})


class HttpConversations:
    """Conversations under `/v1/conversations`."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    async def create(self, new: NewConversation) -> ConversationRow:
        body = new.model_dump(mode="json", exclude_none=True)
        try:
            return _conversation_row(await self._connection.post(_ROW, "/conversations/", body))
        except ApiUnavailable as error:
            check = f"tertulia status {new.id}" if new.id else "tertulia list"
            raise Unavailable(
                f"{error}. The conversation may have started: `{check}` shows it once the API is back"
            ) from None

    async def fork(self, source: str, new: NewFork) -> ConversationRow:
        body = new.model_dump(mode="json", exclude_none=True)
        return _conversation_row(await self._connection.post(_ROW, f"{conversation_path(source)}/fork", body))

    async def retrieve(self, conversation_id: str) -> ConversationRow:
        return _conversation_row(await self._connection.get(_ROW, conversation_path(conversation_id)))

    async def list(self, page: Page, filter: ConversationFilter | None = None) -> builtins.list[ConversationRow]:
        query = {**_query_params(page), **_conversation_params(filter)}
        return [_conversation_row(row) for row in await self._connection.get(_ROWS, "/conversations/", **query)]

    async def count(self, filter: ConversationFilter | None = None) -> int:
        return await self._connection.get(_COUNT, "/conversations/count", **_conversation_params(filter))

    async def delete(self, conversation_id: str) -> None:
        await self._connection.delete(conversation_path(conversation_id))

    async def send(self, conversation_id: str, command: AnyCommand) -> Receipt:
        path = f"{conversation_path(conversation_id)}/{PATHS[COMMAND_NAMES[type(command)]]}"
        body = command.model_dump(mode="json", exclude_none=True)
        send = self._connection.patch if isinstance(command, UpdateSettings) else self._connection.post
        try:
            return await send(_RECEIPT, path, body)
        except ApiUnavailable as error:
            remedy = f"Try again with the same id, --id {command.command_id}: it counts once"
            raise Unavailable(f"not accepted: {error} {remedy}") from None

    async def status(self, conversation_id: str, *, live: bool = False) -> ConversationStatus:
        path = f"{conversation_path(conversation_id)}/status"
        return await self._connection.get(_STATUS, path, live="true" if live else None)

    async def status_at(self, conversation_id: str) -> StatusAt:
        try:
            status = await self.status(conversation_id)
            return StatusAt(status, await self.event_cursor(conversation_id, last=0))
        except ApiUnavailable as error:
            raise EventsUnavailable(error.reason) from None

    async def recent_turns(self, conversation_id: str) -> builtins.list[TurnSummary]:
        return await self._connection.get(_RECENT_TURNS, f"{conversation_path(conversation_id)}/recent-turns")

    async def messages(self, conversation_id: str, *, after: int = 0, limit: int) -> builtins.list[Message]:
        path = f"{conversation_path(conversation_id)}/messages"
        return await self._connection.get(_MESSAGES, path, after=after, limit=limit)

    async def turns(self, conversation_id: str, *, after: int = 0, limit: int) -> builtins.list[FinishedTurn]:
        path = f"{conversation_path(conversation_id)}/turns"
        return await self._connection.get(_TURNS, path, after=after, limit=limit)

    async def members(self, conversation_id: str) -> builtins.list[MemberRow]:
        return await self._connection.get(_MEMBERS, f"{conversation_path(conversation_id)}/members")

    async def membership_changes(
        self, conversation_id: str, *, after: int = 0, limit: int
    ) -> builtins.list[MembershipChange]:
        path = f"{conversation_path(conversation_id)}/membership"
        return await self._connection.get(_CHANGES, path, after=after, limit=limit)

    async def event_cursor(self, conversation_id: str, *, last: int | None = None) -> int:
        path = f"{conversation_path(conversation_id)}/events/cursor"
        return (await self._connection.get(_EVENT_CURSOR, path, last=last)).after

    async def events(
        self, conversation_id: str, *, after: int = 0, deltas: bool = False
    ) -> AsyncGenerator[StreamEvent, None]:
        path = f"{conversation_path(conversation_id)}/events"
        async with aclosing(read_event_stream(self._connection, path, after, deltas=deltas)) as stream:
            async for event in stream:
                yield event


class HttpKeys:
    """API keys under `/v1/keys`."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    async def create(self, new: NewKey) -> CreatedKey:
        created = await self._connection.post(_ROW, "/keys/", new.model_dump(mode="json"))
        return CreatedKey(KeyRow.model_validate(created), str(created["key"]))

    async def retrieve(self, key_id: str) -> KeyRow:
        return await self._connection.get(_KEY, key_path(key_id))

    async def list(self, *, after: str | None = None, limit: int = 50) -> builtins.list[KeyRow]:
        return await self._connection.get(_KEYS, "/keys/", after=after, limit=limit)

    async def count(self) -> int:
        return await self._connection.get(_COUNT, "/keys/count")

    async def update(self, key_id: str, *, name: str) -> KeyRow:
        return await self._connection.patch(_KEY, key_path(key_id), {"name": name})

    async def delete(self, key_id: str) -> KeyRow:
        return _KEY.validate_python(await self._connection.delete(key_path(key_id)))


def _query_params(values: Page | AgentFilter | BlockFilter | GroupFilter | None) -> dict[str, Any]:
    """Return the fields that are set as query parameters."""
    if values is None:
        return {}
    id_text = values.model_dump(mode="json", exclude_none=True, exclude_defaults=not isinstance(values, Page))
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in id_text.items()}


def _conversation_params(filter: ConversationFilter | None) -> dict[str, Any]:
    id_text = filter.model_dump(mode="json", exclude_none=True) if filter else {}
    return {"group_id" if name == "group" else name: value for name, value in id_text.items()}


def _conversation_row(shape: dict[str, JsonValue]) -> ConversationRow:
    field_names = {"conversation_id": shape["id"], "last_seq": shape["messages"], "last_turn": shape["turns"]}
    return ConversationRow.model_validate({**shape, **field_names})

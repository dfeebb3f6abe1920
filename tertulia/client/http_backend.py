"""The client of the API, with the same methods as the client of the servers themselves."""

import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Self

from pydantic import JsonValue, TypeAdapter

from tertulia.client.backend import Answer, Conversing, SourceAway
from tertulia.client.http_connection import Connection, segment
from tertulia.client.http_errors import ApiAway
from tertulia.client.http_manifest import RemoteShelf
from tertulia.client.manifest import Applied, DefinitionFile, apply_to
from tertulia.client.sse import follow
from tertulia.configuration import Configuration
from tertulia.core.base import Record
from tertulia.core.commands import (
    COMMAND_NAMES,
    DEFAULT_SENDER,
    PATHS,
    AnyCommand,
    PostMessage,
    Receipt,
    UpdateSettings,
    checked,
    with_command_id,
)
from tertulia.core.errors import CommandRefused, NotFound, Unavailable
from tertulia.core.ids import ConversationId
from tertulia.core.keys import MadeKey, NewKey
from tertulia.core.records import (
    NO_DATABASE,
    ConversationRow,
    FinishedTurn,
    KeyRow,
    MemberRow,
    MembershipChange,
    Message,
    Occurrence,
)
from tertulia.core.status import ConversationStatus

_PAGE = 200
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class _Beginning(Record):
    after: int


_ROW = TypeAdapter(dict[str, JsonValue])
_ROWS = TypeAdapter(list[dict[str, JsonValue]])
_STATUS = TypeAdapter(ConversationStatus)
_RECEIPT = TypeAdapter(Receipt)
_MESSAGES = TypeAdapter(list[Message])
_TURNS = TypeAdapter(list[FinishedTurn])
_MEMBERS = TypeAdapter(list[MemberRow])
_CHANGES = TypeAdapter(list[MembershipChange])
_BEGINNING = TypeAdapter(_Beginning)
_KEY = TypeAdapter(KeyRow)
_KEYS = TypeAdapter(list[KeyRow])


class RemoteTertulia(Conversing):
    """A connection to a running API, which sees and changes what belongs to its key's organisation."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def connect(cls, configuration: Configuration) -> AsyncIterator[Self]:
        """A client of the API that the configuration names; nothing is asked yet.

        Raises:
            ConfigurationError: the address is none, or the key is none.
        """
        async with Connection.open(configuration) as connection:
            yield cls(connection)

    async def apply(self, file: DefinitionFile) -> list[Applied]:
        """Create or update agents and groups; the conversations of a group that changes are told."""
        return await apply_to(RemoteShelf(self._connection), file)

    async def start(
        self,
        group: str,
        message: str,
        *,
        conversation_id: str | None = None,
        sender: str = DEFAULT_SENDER,
        close_after_round: bool = False,
    ) -> ConversationId:
        """Start a conversation of `group` (id or name) with its first message."""
        post = checked(PostMessage, text=message, sender=sender)
        new_id = ConversationId(conversation_id or f"conversation-{uuid.uuid4()}")
        body = {
            "id": new_id,
            "group": group,
            "message": post.text,
            "sender": post.sender,
            "close_after_round": close_after_round,
        }
        try:
            await self._connection.post(_ROW, "/conversations/", body)
        except ApiAway as error:
            raise Unavailable(
                f"{error}. It may have begun: `tertulia status {new_id}` says so once it is back"
            ) from None
        return new_id

    async def send(self, conversation_id: str, command: AnyCommand) -> Receipt:
        """Send any command and wait for its receipt, which comes at once, before it takes effect."""
        command = with_command_id(command, str(uuid.uuid4()))
        path = f"{_path(conversation_id)}/{PATHS[COMMAND_NAMES[type(command)]]}"
        body = command.model_dump(mode="json", exclude_none=True)
        tell = self._connection.patch if isinstance(command, UpdateSettings) else self._connection.post
        try:
            return await tell(_RECEIPT, path, body)
        except ApiAway as error:
            again = f"Try again with the same id, --id {command.command_id}: it counts once"
            raise Unavailable(f"not accepted: {error} {again}") from None

    async def conversation(self, conversation_id: str) -> ConversationRow:
        """The conversation's row."""
        return _row(await self._connection.get(_ROW, _path(conversation_id)))

    async def conversations(self, *, limit: int = 50) -> list[ConversationRow]:
        """The newest conversations, newest first."""
        rows: list[ConversationRow] = []
        while len(rows) < limit:
            after = rows[-1].conversation_id if rows else None
            size = min(limit - len(rows), _PAGE)
            page = await self._connection.get(_ROWS, "/conversations/", order="desc", limit=size, after=after)
            rows += map(_row, page)
            if len(page) < size:
                break
        return rows

    async def present_status(self, conversation_id: str) -> ConversationStatus:
        """What the conversation tells of itself; of a closed one, its last word, for which no worker is needed."""
        return await self._connection.get(_STATUS, f"{_path(conversation_id)}/status")

    async def transcript(self, conversation_id: str, *, after_seq: int = 0) -> AsyncIterator[Message]:
        """Every message after `after_seq`, in order, read page by page."""
        path = f"{_path(conversation_id)}/messages"
        while page := await self._connection.get(_MESSAGES, path, after=after_seq, limit=_PAGE):
            for message in page:
                yield message
            if len(page) < _PAGE:
                return
            after_seq = page[-1].seq

    async def turns(self, conversation_id: str, *, after_turn: int = 0) -> AsyncIterator[FinishedTurn]:
        """Every turn after `after_turn`: who, why, at what cost."""
        path = f"{_path(conversation_id)}/turns"
        while page := await self._connection.get(_TURNS, path, after=after_turn, limit=_PAGE):
            for turn in page:
                yield turn
            if len(page) < _PAGE:
                return
            after_turn = page[-1].turn

    async def members(self, conversation_id: str) -> list[MemberRow]:
        """Everyone who is or was in the conversation, and how far each has read."""
        return await self._connection.get(_MEMBERS, f"{_path(conversation_id)}/members")

    async def membership(
        self, conversation_id: str, *, after_epoch: int = 0, limit: int = 1_000
    ) -> list[MembershipChange]:
        """The audit of the roster's changes."""
        path = f"{_path(conversation_id)}/membership"
        changes: list[MembershipChange] = []
        while len(changes) < limit:
            size = min(limit - len(changes), _PAGE)
            page = await self._connection.get(_CHANGES, path, after=after_epoch, limit=size)
            changes += page
            if len(page) < size:
                break
            after_epoch = page[-1].epoch
        return changes

    async def beginning(self, conversation_id: str, *, last: int | None = None) -> int:
        """Behind which event to begin to watch: that before the last so many messages; None = from the start."""
        return (await self._connection.get(_BEGINNING, f"{_path(conversation_id)}/beginning", last=last)).after

    async def events(
        self, conversation_id: str, after: int = 0, *, deltas: bool = False
    ) -> AsyncGenerator[Occurrence, None]:
        """Every event after `after`, once and in order, as it happens, until the conversation is closed."""
        async with aclosing(follow(self._connection, conversation_id, after, deltas=deltas)) as occurrences:
            async for occurrence in occurrences:
                yield occurrence

    async def answer(self, conversation_id: str) -> Answer:
        """What the conversation says of itself, and how far its events had come by then."""
        try:
            status = await self.present_status(conversation_id)
            return Answer(status, await self.beginning(conversation_id, last=0))
        except ApiAway as error:
            raise SourceAway(error.reason) from None
        except Unavailable as error:
            if NO_DATABASE in str(error):
                raise SourceAway(str(error)) from None
            raise

    async def make_key(self, new: NewKey, organisation: str | None = None) -> MadeKey:
        """Make a key for the organisation of one's own key."""
        _refuse_other(organisation)
        made = await self._connection.post(_ROW, "/keys/", new.model_dump(mode="json"))
        return MadeKey(KeyRow.model_validate(made), str(made["key"]))

    async def keys(self, organisation: str | None = None) -> list[KeyRow]:
        """The keys of one's own organisation, the oldest first, the revoked ones included."""
        _refuse_other(organisation)
        rows: list[KeyRow] = []
        while page := await self._connection.get(_KEYS, "/keys/", limit=_PAGE, after=rows[-1].id if rows else None):
            rows += page
            if len(page) < _PAGE:
                break
        return rows

    async def revoke_key(self, key_id: str, organisation: str | None = None) -> KeyRow:
        """Make a key invalid, at once and for ever."""
        _refuse_other(organisation)
        if not _ID.fullmatch(key_id):
            raise NotFound(f"no key {key_id!r}")
        return _KEY.validate_python(await self._connection.delete(f"/keys/{segment(key_id)}"))


def _path(conversation_id: str) -> str:
    """The conversation's path; what cannot be an id names none."""
    if not _ID.fullmatch(conversation_id):
        raise NotFound(f"no such conversation: {conversation_id!r}; `tertulia list` shows those there are")
    return f"/conversations/{segment(conversation_id)}"


def _row(told: dict[str, Any]) -> ConversationRow:
    renamed = {"conversation_id": told["id"], "last_seq": told["messages"], "last_turn": told["turns"]}
    return ConversationRow.model_validate({**told, **renamed})


def _refuse_other(organisation: str | None) -> None:
    if organisation is not None:
        raise CommandRefused("--organisation: with TERTULIA_URL, keys are those of your own key's organisation alone")

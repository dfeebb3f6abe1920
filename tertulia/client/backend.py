"""What the command line needs of a client, whether that speaks with the servers themselves or with the API."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tertulia.client.commands import Commanding
from tertulia.core.commands import DEFAULT_SENDER
from tertulia.core.errors import Unavailable
from tertulia.core.ids import ConversationId
from tertulia.core.records import (
    ConversationRow,
    FinishedTurn,
    KeyRow,
    MemberRow,
    MembershipChange,
    Message,
    Occurrence,
)
from tertulia.core.status import ConversationStatus

if TYPE_CHECKING:
    from tertulia.client.manifest import Applied, DefinitionFile
    from tertulia.core.keys import MadeKey, NewKey


@dataclass(frozen=True)
class Answer:
    """What the workflow says of itself."""

    status: ConversationStatus
    stand: int
    """The last event that there was after the workflow had answered."""


class SourceAway(Unavailable):
    """What the events are read from does not answer either, of which the events tell themselves."""


class Conversing(Commanding, Protocol):
    """A client of a running system.

    Every method raises a `tertulia.core.errors.TertuliaError` that is meant to be read.
    """

    @abstractmethod
    async def apply(self, file: "DefinitionFile") -> "list[Applied]":
        """Create or update agents and groups; the conversations of a group that changes are told."""

    @abstractmethod
    async def start(
        self,
        group: str,
        message: str,
        *,
        conversation_id: str | None = None,
        sender: str = DEFAULT_SENDER,
        close_after_round: bool = False,
    ) -> ConversationId:
        """Start a conversation of `group` (id or name) with its first message.

        Raises:
            NotFound: no such group.
            CommandRefused: the id is taken, the group is empty, or the message cannot be posted.
        """

    @abstractmethod
    async def conversation(self, conversation_id: str) -> ConversationRow:
        """The conversation's row.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    async def conversations(self, *, limit: int = 50) -> list[ConversationRow]:
        """The newest conversations, newest first."""

    @abstractmethod
    async def present_status(self, conversation_id: str) -> ConversationStatus:
        """What the conversation tells of itself; of a closed one, its last word, for which no worker is needed.

        Raises:
            NotFound: there is no such conversation.
            Unavailable: no answer.
        """

    @abstractmethod
    def transcript(self, conversation_id: str, *, after_seq: int = 0) -> AsyncIterator[Message]:
        """Every message after `after_seq`, in order, read page by page."""

    @abstractmethod
    def turns(self, conversation_id: str, *, after_turn: int = 0) -> AsyncIterator[FinishedTurn]:
        """Every turn after `after_turn`: who, why, at what cost."""

    @abstractmethod
    async def members(self, conversation_id: str) -> list[MemberRow]:
        """Everyone who is or was in the conversation, and how far each has read."""

    @abstractmethod
    async def membership(
        self, conversation_id: str, *, after_epoch: int = 0, limit: int = 1_000
    ) -> list[MembershipChange]:
        """The audit of the roster's changes."""

    @abstractmethod
    async def beginning(self, conversation_id: str, *, last: int | None = None) -> int:
        """Behind which event to begin to watch: that before the last so many messages; None = from the start.

        Raises:
            NotFound: there is no such conversation.
        """

    @abstractmethod
    def events(self, conversation_id: str, after: int = 0, *, deltas: bool = False) -> AsyncGenerator[Occurrence, None]:
        """Every event after `after`, once and in order, as it happens, until the conversation is closed.

        With `deltas` also words as they are said.
        """

    @abstractmethod
    async def answer(self, conversation_id: str) -> Answer:
        """What the conversation says of itself, and how far its events had come by then.

        Raises:
            SourceAway: what the events are read from does not answer.
            Unavailable: nothing else answers.
        """

    @abstractmethod
    async def make_key(self, new: "NewKey", organisation: str | None = None) -> "MadeKey":
        """Make a key for the API."""

    @abstractmethod
    async def keys(self, organisation: str | None = None) -> list[KeyRow]:
        """An organisation's keys, the oldest first, the revoked ones included."""

    @abstractmethod
    async def revoke_key(self, key_id: str, organisation: str | None = None) -> KeyRow:
        """Make a key invalid, at once and for ever.

        Raises:
            NotFound: there is no such key.
        """

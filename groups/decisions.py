"""What is to be done next. The workflow carries a decision out and answers with an event."""

from groups.ids import AgentId
from groups.model import Record
from groups.roster import AnyRosterChange, Roster
from groups.state import Chosen, Phase, Post


class LoadConversation(Record):
    """Read the group; answer with `ConversationLoaded`."""


class ApplyMembership(Record):
    """Write these changes of the roster, and the roster they lead to; answer with `MembershipApplied`."""

    changes: tuple[AnyRosterChange, ...]
    first_epoch: int
    """The epoch that the first change leads to; each further one is the next."""
    roster: Roster


class RecordPosts(Record):
    """Write these messages into the transcript; answer with `PostsRecorded`."""

    posts: tuple[Post, ...]
    first_seq: int


class AskManager(Record):
    """Let the manager choose; answer with `SpeakerChosen`, `SelectionFailed` or `ManagerFinished`."""

    turn: int
    candidates: tuple[AgentId, ...]


class TakeTurn(Record):
    """Let this member speak; answer with `TurnCompleted`."""

    turn: int
    chosen: Chosen


class CloseRound(Record):
    """End the round; answer with `RoundClosed`."""

    reason: str
    explanation: str


class WaitForInput(Record):
    """Nothing to do until a message or a command comes; there is no event to answer with."""

    phase: Phase


class CloseConversation(Record):
    """Let every member's cursor catch up and write the end; answer with `ConversationEnded`."""

    reason: str


class Finished(Record):
    """The conversation is closed."""


Decision = (
    LoadConversation
    | ApplyMembership
    | RecordPosts
    | AskManager
    | TakeTurn
    | CloseRound
    | WaitForInput
    | CloseConversation
    | Finished
)

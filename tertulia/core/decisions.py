"""What is to be done next. The workflow carries a decision out and answers with an event."""

from datetime import datetime

from tertulia.core.base import Record
from tertulia.core.ids import AgentId
from tertulia.core.phases import PhaseChange
from tertulia.core.roster import MemberRef, Roster
from tertulia.core.roster_changes import AnyRosterChange
from tertulia.core.state import NextSpeaker, Phase, Post


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
    round: int | None = None
    """The round that they belong to."""
    round_start: PhaseChange | None = None
    """Set if the round begins with them."""


class LoadGroup(Record):
    """Read the group anew, for it has changed; answer with `GroupLoaded`."""


class AnnouncePhase(Record):
    """Tell those outside that the conversation is held, or goes on; answer with `PhaseAnnounced`."""

    change: PhaseChange


class AskManager(Record):
    """Let a manager choose; answer with `SpeakerChosen`, `SelectionFailed` or `ManagerFinished`."""

    turn: int
    candidates: tuple[AgentId, ...]
    manager: MemberRef
    note: str = ""
    """Why some are no candidates: part of the reason that is kept."""
    first_fallback_index: int = 0
    """Which of the manager's models is asked first."""
    trial: bool = False
    """One attempt decides: the manager is on probation."""


class TakeTurn(Record):
    """Let this member speak; answer with `TurnCompleted`."""

    turn: int
    chosen: NextSpeaker
    first_fallback_index: int = 0
    """Which of the speaker's models is asked first."""
    trial: bool = False
    """One attempt decides: the member is on probation."""
    conclude: str = ""
    """The speaker shall sum up, for this reason."""


class CloseRound(Record):
    """End the round; answer with `RoundClosed`."""

    reason: str
    explanation: str
    closes: bool = False
    """The conversation ends with it."""


class WaitForInput(Record):
    """Nothing to do until a message or a command comes or, if there is one, a moment; then answer with `ProbeDue`."""

    phase: Phase
    until: datetime | None = None


class CloseConversation(Record):
    """Let every member's cursor catch up and write the end; answer with `ConversationEnded`."""

    reason: str


class Finish(Record):
    """The conversation is closed."""


Decision = (
    LoadConversation
    | ApplyMembership
    | LoadGroup
    | AnnouncePhase
    | RecordPosts
    | AskManager
    | TakeTurn
    | CloseRound
    | WaitForInput
    | CloseConversation
    | Finish
)

"""Decisions of the state machine. The workflow executes each decision and answers with an event."""

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
    """Write roster changes and the resulting roster; answer with `MembershipApplied`."""

    changes: tuple[AnyRosterChange, ...]
    first_epoch: int
    """Epoch after the first change; each further change increases it by one."""
    roster: Roster


class RecordPosts(Record):
    """Append posted messages to the transcript; answer with `PostsRecorded`."""

    posts: tuple[Post, ...]
    first_seq: int
    round: int | None = None
    """Number of their round; None = the conversation closes without another round."""
    round_start: PhaseChange | None = None
    """Phase change to publish if they start a round; None = they join the current one."""


class LoadGroup(Record):
    """Read the changed group again; answer with `GroupLoaded` or `GroupDeleted`."""


class AnnouncePhase(Record):
    """Publish that the conversation pauses or continues; answer with `PhaseAnnounced`."""

    change: PhaseChange


class AskManager(Record):
    """Let a manager choose the speaker; answer with `SpeakerChosen`, `SelectionFailed` or `ManagerFinished`."""

    turn: int
    candidates: tuple[AgentId, ...]
    manager: MemberRef
    note: str = ""
    """Why some members are no candidates; becomes part of the recorded reason."""
    first_fallback_index: int = 0
    """Index of the manager's model to use first: 0 = its own."""
    trial: bool = False
    """Allow one attempt only, because the manager is on probation."""


class TakeTurn(Record):
    """Let a member take a turn; answer with `TurnCompleted`."""

    turn: int
    chosen: NextSpeaker
    first_fallback_index: int = 0
    """Index of the speaker's model to use first: 0 = its own."""
    trial: bool = False
    """Allow one attempt only, because the member is on probation."""
    conclude: str = ""
    """Reason for a concluding turn; empty = an ordinary turn."""


class CloseRound(Record):
    """End the round; answer with `RoundClosed`."""

    reason: str
    explanation: str
    closes: bool = False
    """The conversation closes as well."""


class WaitForInput(Record):
    """Wait for a message or command; at `until`, if set, answer with `ProbeDue`."""

    phase: Phase
    until: datetime | None = None


class CloseConversation(Record):
    """Move all cursors to the end and store the final status; answer with `ConversationEnded`."""

    reason: str


class Finish(Record):
    """Complete the workflow; the conversation is closed."""


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

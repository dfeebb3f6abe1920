"""What has happened to a conversation. Past tense; each is the outcome of one decision of the state machine."""

from datetime import datetime
from typing import Literal

from tertulia.core.base import Record
from tertulia.core.group import GroupSettings, ManagerConfig, Standby
from tertulia.core.ids import AgentId, GroupId
from tertulia.core.phases import PhaseChange
from tertulia.core.roster import MemberRef
from tertulia.core.selection import ChosenBy
from tertulia.core.usage import Usage

TurnOutcome = Literal["spoke", "passed", "failed", "discarded", "cancelled"]
"""`discarded` and `cancelled`: the speaker was removed while it spoke."""


class Event(Record):
    """The root of all events."""

    at: datetime
    """The workflow's time, with zone: the core has no clock of its own."""


class GroupSnapshot(Record):
    """What the database has of a group."""

    group_name: str
    description: str
    manager_config: ManagerConfig
    settings: GroupSettings
    members: tuple[MemberRef, ...]
    standby: tuple[Standby, ...] = ()
    """Those of the members that only stand in for others."""
    managers: tuple[MemberRef, ...] = ()
    revision: int = 1
    """Which revision of the group this is."""


class ForkOrigin(Record):
    """What a conversation has behind it already: that which it shares with another one."""

    last_turn: int
    last_seq: int
    rounds: int
    usage: Usage


class ConversationLoaded(Event, GroupSnapshot):
    """The group was read from the database."""

    group_id: GroupId
    roster: tuple[MemberRef, ...] | None = None
    """Who takes part, where those are not the group's members."""
    fork_origin: ForkOrigin | None = None


class GroupLoaded(Event, GroupSnapshot):
    """The group was read anew, because it has changed."""


class GroupDeleted(Event):
    """The group that had changed was deleted; the conversation goes on without it."""


class PhaseAnnounced(Event):
    """Those outside know that the conversation is held, or goes on."""

    change: PhaseChange


class MembershipApplied(Event):
    """The first `count` pending changes of the roster are in the database."""

    count: int


class PostsRecorded(Event):
    """The first `count` pending messages are in the transcript, up to `last_seq`."""

    count: int
    last_seq: int
    starts_round: bool = False
    """Whether a round begins with them."""


class SpeakerChosen(Event):
    """A manager chose a member for the turn."""

    agent_id: AgentId
    chosen_by: ChosenBy
    reason: str
    manager: MemberRef
    usage: Usage = Usage()
    fallback_index: int = 0
    """Which of the manager's models answered: 0 = its own, 1 = its first fallback…"""
    error: str = ""
    """What failed before."""


class SelectionFailed(Event):
    """A manager could not be brought to choose; the next one is asked, or the fallback rule takes its place."""

    candidates: tuple[AgentId, ...]
    reason: str
    manager: MemberRef
    usage: Usage = Usage()


class ManagerFinished(Event):
    """The manager ended the round."""

    reason: str
    manager: MemberRef
    usage: Usage = Usage()
    fallback_index: int = 0
    error: str = ""


class TurnCompleted(Event):
    """A member had the floor, and what it said, or that it passed, is committed."""

    turn: int
    speaker: MemberRef
    outcome: TurnOutcome
    text_preview: str
    """A preview of the words, or why the turn failed."""
    seq: int
    """The last `seq` of the transcript after this turn."""
    chosen_by: ChosenBy
    reason: str
    tokens_found: tuple[str, ...] = ()
    usage: Usage = Usage()
    seconds: float = 0
    """Wall time from the first attempt to the outcome."""
    fallback_index: int = 0
    """Which of the speaker's models answered: 0 = its own, 1 = its first fallback…"""
    error: str = ""
    """What failed before, or what is the matter with the answer."""


class ProbeDue(Event):
    """Nobody could speak for a while: it is time to try someone."""


class RoundClosed(Event):
    """A condition that ends rounds held."""

    reason: str
    explanation: str
    closes: bool = False
    """Whether the conversation ends with it."""


class ConversationEnded(Event):
    """Everything is written, the cursors of all members stand at the last message."""

    last_seq: int


AnyEvent = (
    ConversationLoaded
    | GroupLoaded
    | GroupDeleted
    | PhaseAnnounced
    | MembershipApplied
    | PostsRecorded
    | SpeakerChosen
    | SelectionFailed
    | ManagerFinished
    | TurnCompleted
    | ProbeDue
    | RoundClosed
    | ConversationEnded
)

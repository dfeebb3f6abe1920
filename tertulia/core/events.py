"""Events of the state machine: each is the result of one decision."""

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
"""Result of a turn. `discarded` and `cancelled`: the speaker was removed during the turn."""


class Event(Record):
    """Base of all events."""

    at: datetime
    """Workflow time with zone; the core has no clock."""


class GroupSnapshot(Record):
    """A group as stored in the database."""

    group_name: str
    description: str
    manager_config: ManagerConfig
    settings: GroupSettings
    members: tuple[MemberRef, ...]
    standby: tuple[Standby, ...] = ()
    """Members that only stand in for others."""
    managers: tuple[MemberRef, ...] = ()
    revision: int = 1


class ForkOrigin(Record):
    """Counters that a fork starts from: turns, messages, rounds and usage shared with its source."""

    last_turn: int
    last_seq: int
    rounds: int
    usage: Usage


class ConversationLoaded(Event, GroupSnapshot):
    """The group was read and the conversation's rows exist."""

    group_id: GroupId
    roster: tuple[MemberRef, ...] | None = None
    """Members of a fork that differ from the group's; None = the group's members."""
    fork_origin: ForkOrigin | None = None


class GroupLoaded(Event, GroupSnapshot):
    """The changed group was read again."""


class GroupDeleted(Event):
    """The group was deleted; the conversation continues without it."""


class PhaseAnnounced(Event):
    """A pause or its end was published."""

    change: PhaseChange


class MembershipApplied(Event):
    """The first `count` pending roster changes were written."""

    count: int


class PostsRecorded(Event):
    """The first `count` pending messages were appended; `last_seq` is the last one."""

    count: int
    last_seq: int
    starts_round: bool = False
    """A round starts with these messages."""


class SpeakerChosen(Event):
    """A manager chose the next speaker."""

    agent_id: AgentId
    chosen_by: ChosenBy
    reason: str
    manager: MemberRef
    usage: Usage = Usage()
    fallback_index: int = 0
    """Index of the manager's model that answered: 0 = its own, 1 = its first fallback."""
    error: str = ""
    """Failure before the answer; empty = none."""


class SelectionFailed(Event):
    """A manager failed to choose; the next manager is asked, or the fallback rule applies."""

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
    """A turn was committed."""

    turn: int
    speaker: MemberRef
    outcome: TurnOutcome
    text_preview: str
    """Start of the message, or the reason of the failure."""
    seq: int
    """Last message of the transcript after the turn."""
    chosen_by: ChosenBy
    reason: str
    tokens_found: tuple[str, ...] = ()
    usage: Usage = Usage()
    seconds: float = 0
    """Wall time from the first attempt to the result, in seconds."""
    fallback_index: int = 0
    """Index of the speaker's model that answered: 0 = its own, 1 = its first fallback."""
    error: str = ""
    """Failure before the answer, or a defect of the answer; empty = none."""


class ProbeDue(Event):
    """The delay before the next try of an isolated member is over."""


class RoundClosed(Event):
    """The round ended."""

    reason: str
    explanation: str
    closes: bool = False
    """The conversation closes as well."""


class ConversationEnded(Event):
    """The final status was stored and all cursors are at the last message."""

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

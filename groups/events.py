"""What has happened to a conversation. Past tense; each is the outcome of one decision of the state machine."""

from datetime import datetime
from typing import Literal

from groups.group import GroupSettings, ManagerConfig
from groups.ids import AgentId, GroupId
from groups.model import Record
from groups.roster import MemberRef
from groups.selection import ChosenBy


class Usage(Record):
    """What models have cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_calls: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            model_calls=self.model_calls + other.model_calls,
        )


class Event(Record):
    """The root of all events."""

    at: datetime
    """The workflow's time, with zone: the core has no clock of its own."""


class ConversationLoaded(Event):
    """The group was read from the database."""

    group_id: GroupId
    group_name: str
    description: str
    manager_config: ManagerConfig
    settings: GroupSettings
    members: tuple[MemberRef, ...]


class MembershipApplied(Event):
    """The first `count` pending changes of the roster are in the database."""

    count: int


class PostsRecorded(Event):
    """The first `count` pending messages are in the transcript, up to `last_seq`."""

    count: int
    last_seq: int


class SpeakerChosen(Event):
    """The manager, or the fallback rule in its place, chose a member for the turn."""

    agent_id: AgentId
    chosen_by: ChosenBy
    reason: str
    usage: Usage = Usage()


class SelectionFailed(Event):
    """The manager could not be brought to choose; the fallback rule takes its place."""

    candidates: tuple[AgentId, ...]
    reason: str
    usage: Usage = Usage()


class ManagerFinished(Event):
    """The manager ended the round."""

    reason: str
    usage: Usage = Usage()


class TurnCompleted(Event):
    """A member had the floor, and what it said, or that it passed, is committed."""

    turn: int
    speaker: MemberRef
    outcome: Literal["spoke", "passed", "failed"]
    said: str
    """A preview of the words, or why the turn failed."""
    seq: int
    """The last `seq` of the transcript after this turn."""
    chosen_by: ChosenBy
    reason: str
    tokens_said: tuple[str, ...] = ()
    usage: Usage = Usage()


class RoundClosed(Event):
    """A condition that ends rounds held."""

    reason: str
    explanation: str


class ConversationEnded(Event):
    """Everything is written, the cursors of all members stand at the last message."""

    last_seq: int


AnyEvent = (
    ConversationLoaded
    | MembershipApplied
    | PostsRecorded
    | SpeakerChosen
    | SelectionFailed
    | ManagerFinished
    | TurnCompleted
    | RoundClosed
    | ConversationEnded
)

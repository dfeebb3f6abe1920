"""What the workflow and the activities say to each other: names, arguments, results. Imports nothing that touches the
world, so that the workflow can import it.

Law: an argument holds ids, numbers and what an operator wrote, never the conversation. A field is added last and with
a default, so that running conversations can still be replayed.
"""

from enum import StrEnum
from typing import Literal

from pydantic import JsonValue

from groups.changes import AnyRosterChange
from groups.events import TurnOutcome
from groups.group import GroupSettings, ManagerConfig, Standby
from groups.ids import AgentId, ConversationId, GroupId
from groups.model import Record
from groups.roster import MemberRef, Roster
from groups.selection import ChosenBy
from groups.state import Post
from groups.usage import Usage

DEFAULT_TASK_QUEUE = "tertulia"


def model_task_queue(task_queue: str) -> str:
    """The queue of the activities that call models, beside the workflow's own."""
    return f"{task_queue}-models"


class ActivityName(StrEnum):
    """The names under which the activities are registered."""

    LOAD_CONVERSATION = "load_conversation"
    FIND_NEWCOMER = "find_newcomer"
    APPLY_MEMBERSHIP = "apply_membership"
    RECORD_POSTS = "record_posts"
    CHOOSE_SPEAKER = "choose_speaker"
    TAKE_TURN = "take_turn"
    RECORD_SILENT_TURN = "record_silent_turn"
    CLOSE_CONVERSATION = "close_conversation"


class LoadConversation(Record):
    """Read the group, and open the conversation in the database."""

    conversation_id: ConversationId
    group: str


class LoadedConversation(Record):
    """The group as it was read; the conversation keeps this until a command changes it."""

    group_id: GroupId
    group_name: str
    description: str
    manager_config: ManagerConfig
    settings: GroupSettings
    members: tuple[MemberRef, ...]
    """All participants, those on standby last."""
    standby: tuple[Standby, ...] = ()
    managers: tuple[MemberRef, ...] = ()


class FindNewcomer(Record):
    """Look up an agent by id or unique name."""

    who: str


class ApplyMembership(Record):
    """Write changes of the roster."""

    conversation_id: ConversationId
    changes: tuple[AnyRosterChange, ...]
    first_epoch: int
    roster: Roster


class RecordPosts(Record):
    """Append messages from outside."""

    conversation_id: ConversationId
    posts: tuple[Post, ...]


class RecordedPosts(Record):
    last_seq: int


class ContextLimits(Record):
    """How much of the transcript a prompt holds."""

    messages: int
    tokens: int


class ChooseSpeaker(Record):
    """Let the manager choose who has turn `turn`."""

    conversation_id: ConversationId
    round: int
    turn: int
    manager_id: AgentId
    candidates: tuple[MemberRef, ...]
    context: ContextLimits
    max_selection_attempts: int
    model_attempts: int
    timeout_seconds: float
    first_model: int = 0
    """Which of the manager's models is asked first."""
    use_fallbacks: bool = False
    """Whether the models after it are asked when it fails."""


class SpeakerChoice(Record):
    """What the manager answered. `who` and `why` come first: they are what the Temporal UI shows of a result."""

    who: str
    why: str
    outcome: Literal["chosen", "finished", "failed"]
    agent_id: AgentId | None = None
    usage: Usage = Usage()
    model: int = 0
    """Which of the manager's models answered: 0 = its own."""
    trouble: str = ""
    """What failed before there was an answer."""


class TakeTurn(Record):
    """Let the speaker take turn `turn`: who it is, why that one, and within which limits."""

    conversation_id: ConversationId
    turn: int
    round: int
    speaker: MemberRef
    epoch: int
    seq: int
    """The last message of the transcript when the turn begins."""
    chosen_by: ChosenBy
    reason: str
    tokens: tuple[str, ...]
    """The termination tokens to tell of and to look for."""
    context: ContextLimits
    preview_chars: int
    max_message_chars: int
    model_attempts: int
    timeout_seconds: float
    first_model: int = 0
    """Which of the speaker's models is asked first."""
    use_fallbacks: bool = False
    """Whether the models after it are asked when it fails."""
    conclude: str = ""
    """The speaker shall sum up, for this reason: nobody speaks after it."""


class RecordSilentTurn(TakeTurn):
    """Keep that the speaker could not speak, or that its words are not wanted any more: from then on, no attempt at
    the turn can commit."""

    error: str
    attempts: int
    """How often it was tried; 0 = unknown."""
    outcome: Literal["failed", "discarded", "cancelled"] = "failed"


class TurnResult(Record):
    """What came of a turn. `said` comes first: it is what the Temporal UI shows of a result."""

    said: str
    outcome: TurnOutcome
    seq: int
    """The last message of the transcript after the turn."""
    tokens_said: tuple[str, ...] = ()
    usage: Usage = Usage()
    attempt: int = 1
    model: int = 0
    """Which of the speaker's models answered: 0 = its own."""
    trouble: str = ""
    """What failed, also where there was an answer in the end."""


class CloseConversation(Record):
    """Let every member's cursor catch up, and keep the final status."""

    conversation_id: ConversationId
    stop_reason: str
    final_status: dict[str, JsonValue]


class ClosedConversation(Record):
    last_seq: int

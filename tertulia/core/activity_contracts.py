"""What the workflow and the activities say to each other: names, arguments, results. Imports nothing that touches the
world, so that the workflow can import it.

Law: an argument holds ids, numbers and what an operator wrote, never the conversation. A field is added last and with
a default, so that running conversations can still be replayed.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from tertulia.core.base import Record, wire_name
from tertulia.core.events import ForkOrigin, TurnOutcome
from tertulia.core.group import GroupSettings, ManagerConfig, Standby
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, ConversationId, GroupId, OrganisationId
from tertulia.core.phases import PhaseChange
from tertulia.core.roster import MemberRef, Roster
from tertulia.core.roster_changes import AnyRosterChange
from tertulia.core.selection import ChosenBy
from tertulia.core.state import Fork, Post
from tertulia.core.usage import Usage

DEFAULT_TASK_QUEUE = "tertulia"


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
    LOAD_GROUP = "load_group"
    CLOSE_ROUND = "close_round"
    ANNOUNCE_PHASE = "announce_phase"
    WRITE_CHANGE = "write_change"
    NOTIFY_CONVERSATIONS = "tell_conversations"


class LoadConversationInput(Record):
    """Read the group, and open the conversation in the database."""

    conversation_id: ConversationId
    group: str
    organisation_id: OrganisationId = DEFAULT_ORGANISATION
    fork: Fork | None = None
    """Whose beginning it shares."""


class LoadConversationResult(Record):
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
    revision: int = 1
    roster: tuple[MemberRef, ...] | None = None
    """Who takes part, where those are not the group's members."""
    fork_origin: Annotated[ForkOrigin | None, wire_name("begun")] = None


class LoadGroupInput(Record):
    """Read the group of a conversation anew."""

    group_id: GroupId
    organisation_id: OrganisationId


class LoadGroupResult(Record):
    """The group as it is now; None if it was deleted."""

    group: LoadConversationResult | None


class FindNewcomerInput(Record):
    """Look up an agent by id or unique name."""

    agent: Annotated[str, wire_name("who")]
    organisation_id: OrganisationId = DEFAULT_ORGANISATION


class ApplyMembershipInput(Record):
    """Write changes of the roster."""

    conversation_id: ConversationId
    changes: tuple[AnyRosterChange, ...]
    first_epoch: int
    roster: Roster


class RecordPostsInput(Record):
    """Append messages from outside."""

    conversation_id: ConversationId
    posts: tuple[Post, ...]
    round: int | None = None
    """The round that they belong to."""
    round_start: Annotated[PhaseChange | None, wire_name("begins")] = None
    """Set if the round begins with them."""


class RecordPostsResult(Record):
    last_seq: int


class ContextLimits(Record):
    """How much of the transcript a prompt holds."""

    messages: int
    tokens: int


class ChooseSpeakerInput(Record):
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
    first_fallback_index: Annotated[int, wire_name("first_model")] = 0
    """Which of the manager's models is asked first."""
    use_fallbacks: bool = False
    """Whether the models after it are asked when it fails."""
    model_override: Annotated[str | None, wire_name("model")] = None
    """Asked instead of the manager's own."""


class ChooseSpeakerResult(Record):
    """What the manager answered. `speaker` and `reason` come first: they are what the Temporal UI shows of a result."""

    speaker: Annotated[str, wire_name("who")]
    reason: Annotated[str, wire_name("why")]
    outcome: Literal["chosen", "finished", "failed"]
    agent_id: AgentId | None = None
    usage: Usage = Usage()
    fallback_index: Annotated[int, wire_name("model")] = 0
    """Which of the manager's models answered: 0 = its own."""
    error: Annotated[str, wire_name("trouble")] = ""
    """What failed before there was an answer."""


class TakeTurnInput(Record):
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
    first_fallback_index: Annotated[int, wire_name("first_model")] = 0
    """Which of the speaker's models is asked first."""
    use_fallbacks: bool = False
    """Whether the models after it are asked when it fails."""
    conclude: str = ""
    """The speaker shall sum up, for this reason: nobody speaks after it."""
    model_override: Annotated[str | None, wire_name("model")] = None
    """Asked instead of the speaker's own."""


class RecordSilentTurnInput(TakeTurnInput):
    """Keep that the speaker could not speak, or that its words are not wanted any more: from then on, no attempt at
    the turn can commit."""

    error: str
    attempts: int
    """How often it was tried; 0 = unknown."""
    outcome: Literal["failed", "discarded", "cancelled"] = "failed"


class TurnResult(Record):
    """What came of a turn. `text_preview` comes first: it is what the Temporal UI shows of a result."""

    text_preview: Annotated[str, wire_name("said")]
    outcome: TurnOutcome
    seq: int
    """The last message of the transcript after the turn."""
    tokens_found: Annotated[tuple[str, ...], wire_name("tokens_said")] = ()
    usage: Usage = Usage()
    attempt: int = 1
    fallback_index: Annotated[int, wire_name("model")] = 0
    """Which of the speaker's models answered: 0 = its own."""
    error: Annotated[str, wire_name("trouble")] = ""
    """What failed, also where there was an answer in the end."""


class CloseRoundInput(Record):
    """Keep what came of a round."""

    conversation_id: ConversationId
    round: int
    turns: int
    seq: int
    """The last message of the transcript after the round."""
    usage: Usage
    started_at: datetime
    change: PhaseChange


class AnnouncePhaseInput(Record):
    """Tell those outside of the conversation's phase."""

    conversation_id: ConversationId
    change: PhaseChange


class CloseConversationInput(Record):
    """Let every member's cursor catch up, and keep the final status."""

    conversation_id: ConversationId
    change: PhaseChange
    final_status: dict[str, JsonValue]


class CloseConversationResult(Record):
    last_seq: int


class PatchGroup(Record):
    """Change some fields of a group."""

    kind: Literal["patch_group"] = "patch_group"
    group_id: GroupId
    fields: dict[str, JsonValue]
    """Of a `GroupPatch`; those that it names and no others."""
    expected_revision: int | None = None


class DeleteGroup(Record):
    """Delete a group, and close its conversations or let them go on."""

    kind: Literal["delete_group"] = "delete_group"
    group_id: GroupId
    closes: bool


class DeleteAgent(Record):
    """Delete an agent, and take it out of all groups and running conversations."""

    kind: Literal["delete_agent"] = "delete_agent"
    agent_id: AgentId


class GroupChangeInput(Record):
    """What the workflow `GroupChange` is asked for; its id is the change's."""

    organisation_id: OrganisationId
    change: Annotated[PatchGroup | DeleteGroup | DeleteAgent, Field(discriminator="kind")]

    def describe(self) -> str:
        """The change in a few words, for a reader."""
        match self.change:
            case PatchGroup(group_id=group_id, fields=fields):
                return f"{group_id}: {', '.join(fields)}"
            case DeleteGroup(group_id=group_id):
                return f"delete {group_id}"
            case DeleteAgent(agent_id=agent_id):
                return f"delete {agent_id}"


class GroupRevision(Record):
    """A group after a change."""

    group_id: GroupId
    revision: int


class GroupChangeResult(Record):
    """What was written, and so what conversations are to be told."""

    groups: tuple[GroupRevision, ...] = ()
    """Their conversations read them anew…"""
    closes: bool = False
    """…or close."""
    removed_agent_id: Annotated[AgentId | None, wire_name("left")] = None
    """An agent that is gone, also from conversations to which it was added by hand."""


class NotifyConversationsInput(Record):
    """Tell one page of the conversations that a change concerns: those of a group, or those in which an agent was."""

    organisation_id: OrganisationId
    group: GroupRevision | None = None
    closes: bool = False
    removed_agent_id: Annotated[AgentId | None, wire_name("left")] = None
    after: str = ""
    """The last conversation of the page before."""
    conversation_ids: Annotated[tuple[ConversationId, ...], wire_name("only")] = ()
    """These once more, which did not answer before; empty = the next page."""


class NotifyConversationsResult(Record):
    count: int
    last: str | None
    """The last one of the page; None if there is no further page."""
    unanswered: Annotated[tuple[ConversationId, ...], wire_name("missed")] = ()
    """Those that did not answer: they do not keep the others waiting."""

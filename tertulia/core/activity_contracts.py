"""Contracts between workflows and activities: names, arguments and results.

Invariant: an argument holds ids, numbers and short texts of operators, never the transcript. New fields are added last
and have a default, so that running conversations can be replayed.
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


class ActivityName(StrEnum):
    """Registered names of the activities."""

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
    """Argument of `load_conversation`: read the group and create the conversation's rows."""

    conversation_id: ConversationId
    group: str
    organisation_id: OrganisationId = DEFAULT_ORGANISATION
    fork: Fork | None = None
    """Origin of the conversation; None = not a fork."""


class LoadConversationResult(Record):
    """The group as read. The conversation keeps it until a command or a change of the group changes it."""

    group_id: GroupId
    group_name: str
    description: str
    manager_config: ManagerConfig
    settings: GroupSettings
    members: tuple[MemberRef, ...]
    """All members of the group; those on standby last."""
    standby: tuple[Standby, ...] = ()
    managers: tuple[MemberRef, ...] = ()
    revision: int = 1
    roster: tuple[MemberRef, ...] | None = None
    """Members of a fork that differ from the group's; None = the group's members."""
    fork_origin: Annotated[ForkOrigin | None, wire_name("begun")] = None
    """Counters that a fork starts from; None = not a fork."""


class LoadGroupInput(Record):
    """Argument of `load_group`: read a changed group again."""

    group_id: GroupId
    organisation_id: OrganisationId


class LoadGroupResult(Record):
    """The group as it is now."""

    group: LoadConversationResult | None
    """None = it was deleted."""


class FindNewcomerInput(Record):
    """Argument of `find_newcomer`: look up an agent by id or unique name."""

    agent: Annotated[str, wire_name("who")]
    organisation_id: OrganisationId = DEFAULT_ORGANISATION


class ApplyMembershipInput(Record):
    """Argument of `apply_membership`: write roster changes and the resulting roster."""

    conversation_id: ConversationId
    changes: tuple[AnyRosterChange, ...]
    first_epoch: int
    roster: Roster


class RecordPostsInput(Record):
    """Argument of `record_posts`: append posted messages to the transcript."""

    conversation_id: ConversationId
    posts: tuple[Post, ...]
    round: int | None = None
    """Number of their round; None = the conversation closes without another round."""
    round_start: Annotated[PhaseChange | None, wire_name("begins")] = None
    """Phase change to publish if they start a round; None = they join the current one."""


class RecordPostsResult(Record):
    """Result of `record_posts`."""

    last_seq: int
    """Last message of the transcript."""


class ContextLimits(Record):
    """Limits on the transcript in one prompt."""

    messages: int
    tokens: int


class ChooseSpeakerInput(Record):
    """Argument of `choose_speaker`: let a managing agent choose the speaker of `turn`."""

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
    """Index of the manager's model to use first: 0 = its own, 1 = its first fallback."""
    use_fallbacks: bool = False
    """Use the following models when one fails."""
    model_override: Annotated[str | None, wire_name("model")] = None
    """Provider's name of a model to use instead of the manager's own."""


class ChooseSpeakerResult(Record):
    """Result of `choose_speaker`. `speaker` and `reason` come first, because the Temporal UI shows the first fields."""

    speaker: Annotated[str, wire_name("who")]
    reason: Annotated[str, wire_name("why")]
    outcome: Literal["chosen", "finished", "failed"]
    agent_id: AgentId | None = None
    usage: Usage = Usage()
    fallback_index: Annotated[int, wire_name("model")] = 0
    """Index of the manager's model that answered: 0 = its own."""
    error: Annotated[str, wire_name("trouble")] = ""
    """Failure before the answer; empty = none."""


class TakeTurnInput(Record):
    """Argument of `take_turn`: the speaker, the reason for its choice, and limits."""

    conversation_id: ConversationId
    turn: int
    round: int
    speaker: MemberRef
    epoch: int
    seq: int
    """Last message of the transcript before the turn."""
    chosen_by: ChosenBy
    reason: str
    tokens: tuple[str, ...]
    """Termination tokens to mention in the prompt and to search for in the message."""
    context: ContextLimits
    preview_chars: int
    max_message_chars: int
    model_attempts: int
    timeout_seconds: float
    first_fallback_index: Annotated[int, wire_name("first_model")] = 0
    """Index of the speaker's model to use first: 0 = its own, 1 = its first fallback."""
    use_fallbacks: bool = False
    """Use the following models when one fails."""
    conclude: str = ""
    """Reason for a concluding turn; empty = an ordinary turn."""
    model_override: Annotated[str | None, wire_name("model")] = None
    """Provider's name of a model to use instead of the speaker's own."""


class RecordSilentTurnInput(TakeTurnInput):
    """Argument of `record_silent_turn`: record a turn without a message; afterwards no attempt at it can commit."""

    error: str
    attempts: int
    """Number of attempts; 0 = unknown."""
    outcome: Literal["failed", "discarded", "cancelled"] = "failed"


class TurnResult(Record):
    """Result of `take_turn`. `text_preview` comes first, because the Temporal UI shows the first fields."""

    text_preview: Annotated[str, wire_name("said")]
    outcome: TurnOutcome
    seq: int
    """Last message of the transcript after the turn."""
    tokens_found: Annotated[tuple[str, ...], wire_name("tokens_said")] = ()
    usage: Usage = Usage()
    attempt: int = 1
    fallback_index: Annotated[int, wire_name("model")] = 0
    """Index of the speaker's model that answered: 0 = its own."""
    error: Annotated[str, wire_name("trouble")] = ""
    """Failure before or instead of the answer; empty = none."""


class CloseRoundInput(Record):
    """Argument of `close_round`: record the result of a round."""

    conversation_id: ConversationId
    round: int
    turns: int
    seq: int
    """Last message of the transcript after the round."""
    usage: Usage
    started_at: datetime
    change: PhaseChange


class AnnouncePhaseInput(Record):
    """Argument of `announce_phase`: publish a phase change as an event."""

    conversation_id: ConversationId
    change: PhaseChange


class CloseConversationInput(Record):
    """Argument of `close_conversation`: move all cursors to the end and store the final status."""

    conversation_id: ConversationId
    change: PhaseChange
    final_status: dict[str, JsonValue]


class CloseConversationResult(Record):
    """Result of `close_conversation`."""

    last_seq: int
    """Last message of the transcript."""


class PatchGroup(Record):
    """Change some fields of a group."""

    kind: Literal["patch_group"] = "patch_group"
    group_id: GroupId
    fields: dict[str, JsonValue]
    """Changed fields of a `GroupPatch`; the others stay."""
    expected_revision: int | None = None


class DeleteGroup(Record):
    """Delete a group; close its open conversations or let them continue."""

    kind: Literal["delete_group"] = "delete_group"
    group_id: GroupId
    closes: bool


class DeleteAgent(Record):
    """Delete an agent and remove it from all groups and open conversations."""

    kind: Literal["delete_agent"] = "delete_agent"
    agent_id: AgentId


class GroupChangeInput(Record):
    """Argument of the workflow `GroupChange`; the workflow id is the id of the change."""

    organisation_id: OrganisationId
    change: Annotated[PatchGroup | DeleteGroup | DeleteAgent, Field(discriminator="kind")]

    def describe(self) -> str:
        """Return a short description for the Temporal UI."""
        match self.change:
            case PatchGroup(group_id=group_id, fields=fields):
                return f"{group_id}: {', '.join(fields)}"
            case DeleteGroup(group_id=group_id):
                return f"delete {group_id}"
            case DeleteAgent(agent_id=agent_id):
                return f"delete {agent_id}"


class GroupRevision(Record):
    """A group and its revision after a change."""

    group_id: GroupId
    revision: int


class GroupChangeResult(Record):
    """Stored result of a change, from which the conversations to notify follow."""

    groups: tuple[GroupRevision, ...] = ()
    """Groups whose open conversations must read them again, or close."""
    closes: bool = False
    """The open conversations close."""
    removed_agent_id: Annotated[AgentId | None, wire_name("left")] = None
    """Deleted agent; open conversations to which it was added by command remove it as well."""


class NotifyConversationsInput(Record):
    """Argument of `tell_conversations`: notify one page of the conversations of a group, or of a removed agent."""

    organisation_id: OrganisationId
    group: GroupRevision | None = None
    closes: bool = False
    removed_agent_id: Annotated[AgentId | None, wire_name("left")] = None
    after: str = ""
    """Last conversation of the previous page."""
    conversation_ids: Annotated[tuple[ConversationId, ...], wire_name("only")] = ()
    """Conversations to notify again because they did not answer; empty = the next page."""


class NotifyConversationsResult(Record):
    """Result of `tell_conversations`."""

    count: int
    last: str | None
    """Last conversation of the page; None = there is no further page."""
    unanswered: Annotated[tuple[ConversationId, ...], wire_name("missed")] = ()
    """Conversations that did not answer; they are notified again after all pages."""

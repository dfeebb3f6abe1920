"""The state of a conversation: one value, which is also the argument of continue-as-new.

Invariant: its size does not depend on the length of the conversation; the constants below bound what it keeps.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from tertulia.core.base import Record, wire_name
from tertulia.core.commands import Receipt, Rejection
from tertulia.core.group import GroupSettings, ManagerConfig, RoundRobinConfig, Standby
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, CommandId, ConversationId, GroupId, OrganisationId
from tertulia.core.phases import PublicPhase
from tertulia.core.roster import MemberRef, Roster
from tertulia.core.roster_changes import AnyRosterChange
from tertulia.core.selection import ChosenBy, Floor
from tertulia.core.usage import Usage

Phase = Literal[
    "initializing",
    "loading",
    "ready",
    "choosing_speaker",
    "executing",
    "recording",
    "paused",
    "terminating",
    "closed",
]

STATE_VERSION = 1
"""Version of the form of `ConversationState`; a worker cannot run a conversation of a later version."""
RULES_VERSION = 2
"""Version of the rules in `decide` and `apply` for new conversations.

Running conversations keep theirs, because replay must reach the same decisions:
1: `max_turns` of dynamic groups defaults to 20; a budget of model calls has no reserve for the concluding turn.
2: `max_turns` defaults to the number of active members for every manager type; the concluding call is reserved.
"""
RECENT_TURNS = 12
STATE_PREVIEW_CHARS = 200
"""Characters kept of each recent message."""
RECENT_REJECTIONS = 20
REMEMBERED_COMMANDS = 256
MAX_PENDING_CHANGES = 100
MAX_PENDING_BYTES = 512_000
"""JSON bytes of waiting messages and roster changes at most: the state must fit into one Temporal payload."""


class Post(Record):
    """A posted message that waits to enter the transcript."""

    message_id: CommandId
    sender: str
    text: str


class NextSpeaker(Record):
    """The speaker of the next turn."""

    member: MemberRef
    chosen_by: ChosenBy
    reason: str
    in_place_of: AgentId | None = None
    """Owner of the seat it takes; None = its own seat."""
    closes_conversation: Annotated[bool, wire_name("closing")] = False
    """The conversation closes after this turn, because one of its budgets is spent."""


class Round(Record):
    """The round in progress: the work triggered by one or several messages."""

    number: int
    turns: int = 0
    started_at: datetime
    usage_before: Usage
    """The conversation's usage at the start of the round."""
    tokens_found: Annotated[tuple[str, ...], wire_name("tokens_said")] = ()
    consecutive_passes: Annotated[int, wire_name("quiet")] = 0
    """Turns in a row whose speaker passed."""
    failed: tuple[AgentId, ...] = ()
    """Owners of the seats whose turns failed since the last successful turn."""
    skipped: int = 0
    """Number of the failed turns that are counted in `turns`."""
    lap_before: tuple[AgentId, ...] = ()
    """`Floor.lap` before the first of the failures; restored when every member has failed."""
    vacant_seat: Annotated[AgentId | None, wire_name("vacant")] = None
    """Owner of the seat whose failed turn a member on standby takes next."""
    managers_tried: tuple[AgentId, ...] = ()
    """Managers that failed to choose the next speaker."""
    managers_error: Annotated[str, wire_name("managers_trouble")] = ""
    """Why they failed."""
    concluded: bool = False
    """The concluding turn of a spent budget is over."""
    finished_because: str | None = None
    """The manager's reason for ending the round; None = it has not ended it."""
    chosen: NextSpeaker | None = None


class TurnSummary(Record):
    """Summary of one turn for `status`, `watch` and the Temporal UI."""

    turn: int
    speaker: str
    outcome: str
    chosen_by: str
    reason: str
    text_preview: Annotated[str, wire_name("said")]
    error: Annotated[str, wire_name("trouble")] = ""


class GroupBaseline(Record):
    """The group as last read from the database; differences from it are changes made in the conversation itself."""

    revision: int
    agent_ids: tuple[AgentId, ...]
    standby: tuple[Standby, ...] = ()
    manager_config: ManagerConfig
    settings: GroupSettings


class Fork(Record):
    """Origin of a fork: the conversation and the point up to which both share the transcript."""

    source: ConversationId
    turn: int
    """Last shared turn; 0 = none."""
    seq: int
    """Last shared message."""
    agent_ids: tuple[AgentId, ...] = ()
    """Members of the fork; empty = the members of the source."""


class Outage(Record):
    """A period in which no member can speak, and the time of the next try."""

    since: datetime
    probes: int = 0
    next_probe_at: datetime
    probe_requested: Annotated[bool, wire_name("asked")] = False
    """An operator has requested a try at once."""


class StopRequest(Record):
    """Reason for closing the conversation."""

    reason: str
    explanation: str


class ConversationState(Record):
    """State of a conversation between two steps."""

    version: int = STATE_VERSION
    group: str
    """Id or unique name of the group, as given at the start."""
    conversation_id: ConversationId = ConversationId("")
    """Equal to the workflow id."""
    organisation_id: OrganisationId = DEFAULT_ORGANISATION
    fork: Fork | None = None
    close_after_round: bool = False
    """Close when a round has ended and no message waits."""
    continue_as_new_after_turns: int | None = Field(default=None, ge=1)
    """Continue as new after this many turns of one run; None = when the server suggests it."""
    ids_only: bool = False
    """Use ids instead of names in search attributes, which Temporal cannot store encrypted."""
    rules_version: int = 1
    """Rules that decide this conversation (`RULES_VERSION`). States of clients older than this field have rules 1."""

    phase: Phase = "initializing"
    clock: datetime | None = None
    """Time of the last event."""
    group_id: GroupId = GroupId("")
    group_name: str = ""
    description: str = ""
    manager_config: ManagerConfig = RoundRobinConfig()
    settings: GroupSettings = GroupSettings()
    roster: Roster = Roster()
    baseline: Annotated[GroupBaseline | None, wire_name("base")] = None
    notified_revision: Annotated[int, wire_name("told_revision")] = 0
    """Newest revision of the group that the conversation was notified of."""
    floor: Floor = Floor()
    last_seq: int = 0
    rounds: int = 0
    round: Round | None = None
    usage: Usage = Usage()
    seconds: float = 0
    """Wall time of all finished rounds, in seconds."""
    outage: Outage | None = None

    announced_phase: Annotated[PublicPhase, wire_name("announced")] = "ready"
    """Last published phase."""
    phase_changes: int = 0
    """Number of published phase changes."""

    pending_posts: tuple[Post, ...] = ()
    pending_changes: tuple[AnyRosterChange, ...] = ()
    paused_because: str | None = None
    """Reason of an operator's pause, possibly empty; None = not paused."""
    stop: StopRequest | None = None

    stop_reason: str | None = None
    """Why the last round or the conversation ended; None while a round runs."""
    stop_explanation: str | None = None
    recent_turns: tuple[TurnSummary, ...] = ()
    receipts: dict[CommandId, Receipt] = Field(default_factory=dict)
    """Receipts of the latest commands by command id, oldest first; a repeated command gets its first receipt."""
    rejected: tuple[Rejection, ...] = ()

    @field_validator("version", "rules_version")
    @classmethod
    def _check_version(cls, value: int, info: ValidationInfo) -> int:
        # An unreadable argument fails the workflow task; Temporal retries it until a newer worker takes it.
        known = STATE_VERSION if info.field_name == "version" else RULES_VERSION
        if value > known:
            raise ValueError(f"{value} is newer than {known}, the latest that this worker supports; upgrade the worker")
        return value

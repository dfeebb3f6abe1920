"""The whole state of a conversation in one value, which is also what it continues as new with.

Nothing in it grows with the length of the conversation: what it remembers is bounded by the constants below.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

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
RECENT_TURNS = 12
STATE_PREVIEW_CHARS = 200
"""How much of a message the state itself keeps, for the last turns."""
RECENT_REJECTIONS = 20
REMEMBERED_COMMANDS = 256
MAX_PENDING_CHANGES = 100
MAX_PENDING_BYTES = 512_000
"""Bytes of JSON that may wait, messages and changes of members: the state must fit into one payload of Temporal."""


class Post(Record):
    """A message from outside that waits to enter the transcript."""

    message_id: CommandId
    sender: str
    text: str


class NextSpeaker(Record):
    """The speaker of the turn that is about to be taken."""

    member: MemberRef
    chosen_by: ChosenBy
    reason: str
    in_place_of: AgentId | None = None
    """On whose seat it speaks, if not on its own."""
    closes_conversation: Annotated[bool, wire_name("closing")] = False
    """The conversation closes after this turn: a budget of its own is spent."""


class Round(Record):
    """The work that one message, or several, set off."""

    number: int
    turns: int = 0
    started_at: datetime
    usage_before: Usage
    """The conversation's usage when the round began."""
    tokens_found: Annotated[tuple[str, ...], wire_name("tokens_said")] = ()
    consecutive_passes: Annotated[int, wire_name("quiet")] = 0
    """Passes in a row."""
    failed: tuple[AgentId, ...] = ()
    """The seats that could not speak, one after the other, since somebody did."""
    skipped: int = 0
    """How many of those failed turns count among `turns`."""
    lap_before: tuple[AgentId, ...] = ()
    """The rotation's lap as it was before those failures: if everybody fails, it goes on there."""
    vacant_seat: Annotated[AgentId | None, wire_name("vacant")] = None
    """Whose failed turn one on standby shall take."""
    managers_tried: tuple[AgentId, ...] = ()
    """The managers that could not be brought to choose the next speaker…"""
    managers_error: Annotated[str, wire_name("managers_trouble")] = ""
    """…and why."""
    concluded: bool = False
    """A budget was reached, and the turn that sums up is over."""
    finished_because: str | None = None
    """The manager's reason, once it has ended the round."""
    chosen: NextSpeaker | None = None


class TurnSummary(Record):
    """One turn, for a reader of `status`, `watch` and the Temporal UI."""

    turn: int
    speaker: str
    outcome: str
    chosen_by: str
    reason: str
    text_preview: Annotated[str, wire_name("said")]
    error: Annotated[str, wire_name("trouble")] = ""


class GroupBaseline(Record):
    """What the group itself said when the conversation last read it: what differs from it is the conversation's own."""

    revision: int
    agent_ids: tuple[AgentId, ...]
    standby: tuple[Standby, ...] = ()
    manager_config: ManagerConfig
    settings: GroupSettings


class Fork(Record):
    """Where a conversation begins that shares the beginning of another one."""

    source: ConversationId
    turn: int
    """The last turn that they share; 0 = none."""
    seq: int
    """The last message that they share."""
    agent_ids: tuple[AgentId, ...] = ()
    """Who takes part; empty = those who take part in the other one."""


class Outage(Record):
    """Nobody is left who could speak: since when, and when someone is tried next."""

    since: datetime
    probes: int = 0
    next_probe_at: datetime
    probe_requested: Annotated[bool, wire_name("asked")] = False
    """An operator wants someone to be tried at once."""


class StopRequest(Record):
    """Why the conversation closes, or closed."""

    reason: str
    explanation: str


class ConversationState(Record):
    """Everything that a conversation knows between two of its steps."""

    version: int = STATE_VERSION
    group: str
    """The group's id or unique name, as the starter gave it."""
    conversation_id: ConversationId = ConversationId("")
    """The workflow's id."""
    organisation_id: OrganisationId = DEFAULT_ORGANISATION
    fork: Fork | None = None
    close_after_round: bool = False
    """Close once a round has ended and no message waits."""
    continue_as_new_after_turns: int | None = Field(default=None, ge=1)
    """For tests: continue as new after so many turns of one run, not only when the server suggests it."""
    ids_only: bool = False
    """Keep names out of search attributes, which Temporal needs in the clear: members stand there by their ids."""

    phase: Phase = "initializing"
    clock: datetime | None = None
    """The time of the last event."""
    group_id: GroupId = GroupId("")
    group_name: str = ""
    description: str = ""
    manager_config: ManagerConfig = RoundRobinConfig()
    settings: GroupSettings = GroupSettings()
    roster: Roster = Roster()
    baseline: Annotated[GroupBaseline | None, wire_name("base")] = None
    notified_revision: Annotated[int, wire_name("told_revision")] = 0
    """The newest revision of the group that the conversation was told of."""
    floor: Floor = Floor()
    last_seq: int = 0
    rounds: int = 0
    round: Round | None = None
    usage: Usage = Usage()
    seconds: float = 0
    """How long the rounds before the present one took together."""
    outage: Outage | None = None

    announced_phase: Annotated[PublicPhase, wire_name("announced")] = "ready"
    """The phase that those outside were told last…"""
    phase_changes: int = 0
    """…and how often it has changed."""

    pending_posts: tuple[Post, ...] = ()
    pending_changes: tuple[AnyRosterChange, ...] = ()
    paused_because: str | None = None
    """Set while an operator's pause holds the conversation; may be empty text."""
    stop: StopRequest | None = None

    stop_reason: str | None = None
    """Why the last round, or the conversation, ended."""
    stop_explanation: str | None = None
    recent_turns: tuple[TurnSummary, ...] = ()
    receipts: dict[CommandId, Receipt] = Field(default_factory=dict)
    """The first answers to the last commands, oldest first."""
    rejected: tuple[Rejection, ...] = ()

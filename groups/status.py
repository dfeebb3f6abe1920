"""What a conversation tells of itself: the answer to `tertulia status --json`, which other programs rely on."""

from groups.commands import Rejection
from groups.ids import AgentId, ConversationId, GroupId
from groups.machine import NO_PARTICIPANTS
from groups.model import Record
from groups.roster import MemberState
from groups.state import ConversationState, Phase


class MemberStatus(Record):
    agent_id: AgentId
    name: str
    state: MemberState


class RosterStatus(Record):
    epoch: int
    members: tuple[MemberStatus, ...]


class UsageStatus(Record):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    model_calls: int


class PendingStatus(Record):
    messages: int
    """Posted messages that wait for a turn boundary."""
    commands: int
    """Changes of members that wait for a turn boundary."""


class ConversationStatus(Record):
    """A conversation at one moment."""

    conversation_id: ConversationId
    group_id: GroupId
    phase: Phase
    round: int
    """The number of the present, or else the last, round."""
    turn: int
    """The number of the last turn taken."""
    roster: RosterStatus
    last_speaker: str | None
    usage: UsageStatus
    stop_reason: str | None
    """Why the last round, or the conversation, ended; null while a round runs."""
    pending: PendingStatus
    rejected: tuple[Rejection, ...]
    """The last signals that were refused."""
    group: str
    speaking: str | None = None
    """Whose model call runs now."""
    speaking_because: str | None = None
    stop_explanation: str | None = None
    paused_because: str | None = None
    messages: int = 0
    """How many messages the transcript has."""


def status_of(state: ConversationState) -> ConversationStatus:
    """What this state looks like from outside."""
    chosen = state.round.chosen if state.round else None
    return ConversationStatus(
        conversation_id=state.conversation_id,
        group_id=state.group_id,
        phase=state.phase,
        round=state.rounds,
        turn=state.floor.turn,
        roster=roster_status(state),
        last_speaker=state.recent_turns[-1].speaker if state.recent_turns else None,
        usage=UsageStatus(**state.usage.model_dump(), total_tokens=state.usage.total_tokens),
        stop_reason=state.stop_reason,
        pending=PendingStatus(messages=len(state.pending_posts), commands=len(state.pending_changes)),
        rejected=state.rejected,
        group=state.group_name or state.group,
        speaking=chosen.member.name if chosen else None,
        speaking_because=chosen.reason if chosen else None,
        stop_explanation=state.stop_explanation,
        paused_because=why_paused(state),
        messages=state.last_seq,
    )


def why_paused(state: ConversationState) -> str | None:
    """The operator's reason, or that nobody is there who could speak; None while nothing holds the conversation."""
    if state.paused_because is None and state.phase == "paused":
        return NO_PARTICIPANTS
    return state.paused_because


def roster_status(state: ConversationState) -> RosterStatus:
    """Who is here."""
    members = (MemberStatus(agent_id=one.agent_id, name=one.name, state=one.state) for one in state.roster.members)
    return RosterStatus(epoch=state.roster.epoch, members=tuple(members))

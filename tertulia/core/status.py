"""What a conversation tells of itself: the answer to `tertulia status --json`, which other programs rely on."""

from datetime import datetime

from tertulia.core.base import Record
from tertulia.core.commands import Rejection
from tertulia.core.failover import NO_PARTICIPANTS
from tertulia.core.health import Health, HealthState
from tertulia.core.ids import AgentId, ConversationId, GroupId
from tertulia.core.roster import MemberState
from tertulia.core.round_rules import ordered_managers
from tertulia.core.state import ConversationState, Phase


class HealthStatus(Record):
    """How one fares, and why."""

    state: HealthState
    reason: str = ""
    since_turn: int = 0
    since: datetime | None = None


class MemberStatus(Record):
    agent_id: AgentId
    name: str
    state: MemberState
    health: HealthStatus = HealthStatus(state="healthy")
    in_place_of: str | None = None
    """The isolated member, by name, for which it stands in."""
    total_tokens: int = 0
    """What its turns have cost since it joined."""


class ManagerStatus(Record):
    agent_id: AgentId
    name: str
    health: HealthStatus


class RosterStatus(Record):
    epoch: int
    members: tuple[MemberStatus, ...]
    managers: tuple[ManagerStatus, ...] = ()
    """In the order in which they are asked."""


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
    next_probe_at: datetime | None = None
    """When a member is tried again, while nobody can speak."""
    seconds: float = 0
    """How long all rounds took together, as far as they are over."""


def build_status(state: ConversationState) -> ConversationStatus:
    """What this state looks like from outside."""
    chosen = state.round.chosen if state.round else None
    return ConversationStatus(
        conversation_id=state.conversation_id,
        group_id=state.group_id,
        phase=state.phase,
        round=state.rounds,
        turn=state.floor.turn,
        roster=build_roster_status(state),
        last_speaker=state.recent_turns[-1].speaker if state.recent_turns else None,
        usage=UsageStatus(**state.usage.model_dump(), total_tokens=state.usage.total_tokens),
        stop_reason=state.stop_reason,
        pending=PendingStatus(messages=len(state.pending_posts), commands=len(state.pending_changes)),
        rejected=state.rejected,
        group=state.group_name or state.group,
        speaking=chosen.member.name if chosen else None,
        speaking_because=chosen.reason if chosen else None,
        stop_explanation=state.stop_explanation,
        paused_because=pause_reason(state),
        messages=state.last_seq,
        next_probe_at=state.outage.next_probe_at if state.outage else None,
        seconds=state.seconds,
    )


def pause_reason(state: ConversationState) -> str | None:
    """The operator's reason, or that nobody is there who could speak; None while nothing holds the conversation."""
    if state.paused_because is None and state.phase == "paused":
        return NO_PARTICIPANTS
    return state.paused_because


def build_roster_status(state: ConversationState) -> RosterStatus:
    """Who is here."""
    names = {member.agent_id: member.name for member in state.roster.members}
    members = tuple(
        MemberStatus(
            agent_id=one.agent_id,
            name=one.name,
            state=one.effective_state,
            health=_health_status(one.health),
            in_place_of=names.get(one.in_place_of) if one.in_place_of else None,
            total_tokens=one.usage.total_tokens,
        )
        for one in state.roster.members
    )
    managers = tuple(
        ManagerStatus(agent_id=one.agent_id, name=one.name, health=_health_status(one.health))
        for one in ordered_managers(state)
    )
    return RosterStatus(epoch=state.roster.epoch, members=members, managers=managers)


def _health_status(health: Health) -> HealthStatus:
    return HealthStatus(state=health.state, reason=health.reason, since_turn=health.since_turn, since=health.since)


def is_round_over(status: ConversationStatus) -> bool:
    """Return whether no round runs and no message waits, or an operator has paused the conversation, or it is closed.

    False while no member can speak and one is tried again later: such a pause ends by itself.
    """
    if status.phase == "paused":
        return status.next_probe_at is None
    return status.phase == "closed" or (status.phase == "ready" and not status.pending.messages)

"""Status of a conversation: the answer of the query `status` and of `tertulia status --json`.

Invariant: fields keep their names and meanings, because other programs read them.
"""

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
    """Health of a member or manager."""

    state: HealthState
    reason: str = ""
    since_turn: int = 0
    since: datetime | None = None


class MemberStatus(Record):
    """A member in the status."""

    agent_id: AgentId
    name: str
    state: MemberState
    health: HealthStatus = HealthStatus(state="healthy")
    in_place_of: str | None = None
    """Name of the isolated member it stands in for."""
    total_tokens: int = 0
    """Tokens of its turns since it joined."""


class ManagerStatus(Record):
    """A managing agent in the status."""

    agent_id: AgentId
    name: str
    health: HealthStatus


class RosterStatus(Record):
    """Members and managers in the status."""

    epoch: int
    members: tuple[MemberStatus, ...]
    managers: tuple[ManagerStatus, ...] = ()
    """Managers in the order in which they are asked."""


class UsageStatus(Record):
    """Usage of the whole conversation."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    model_calls: int


class PendingStatus(Record):
    """Number of messages and commands that wait for the next turn boundary."""

    messages: int
    """Posted messages."""
    commands: int
    """Roster changes."""


class ConversationStatus(Record):
    """Status of a conversation at one point in time."""

    conversation_id: ConversationId
    group_id: GroupId
    phase: Phase
    round: int
    """Number of the current round, else of the last one."""
    turn: int
    """Number of the last turn taken."""
    roster: RosterStatus
    last_speaker: str | None
    usage: UsageStatus
    stop_reason: str | None
    """Why the last round or the conversation ended; null while a round runs."""
    pending: PendingStatus
    rejected: tuple[Rejection, ...]
    """Latest refused signals, oldest first."""
    group: str
    speaking: str | None = None
    """Name of the current speaker; null = no turn runs."""
    speaking_because: str | None = None
    """Why it was chosen."""
    stop_explanation: str | None = None
    paused_because: str | None = None
    messages: int = 0
    """Number of messages in the transcript."""
    next_probe_at: datetime | None = None
    """While no member can speak: time of the next try; else null."""
    seconds: float = 0
    """Wall time of all finished rounds, in seconds."""


def build_status(state: ConversationState) -> ConversationStatus:
    """Build the status of a state."""
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
    """Return the operator's reason, or that no member can speak; None = not paused."""
    if state.paused_because is None and state.phase == "paused":
        return NO_PARTICIPANTS
    return state.paused_because


def build_roster_status(state: ConversationState) -> RosterStatus:
    """Build the members and managers of the status."""
    names = {member.agent_id: member.name for member in state.roster.members}
    members = tuple(
        MemberStatus(
            agent_id=member.agent_id,
            name=member.name,
            state=member.effective_state,
            health=_health_status(member.health),
            in_place_of=names.get(member.in_place_of) if member.in_place_of else None,
            total_tokens=member.usage.total_tokens,
        )
        for member in state.roster.members
    )
    managers = tuple(
        ManagerStatus(agent_id=manager.agent_id, name=manager.name, health=_health_status(manager.health))
        for manager in ordered_managers(state)
    )
    return RosterStatus(epoch=state.roster.epoch, members=members, managers=managers)


def _health_status(health: Health) -> HealthStatus:
    return HealthStatus(state=health.state, reason=health.reason, since_turn=health.since_turn, since=health.since)


def is_round_over(status: ConversationStatus) -> bool:
    """Return whether no round runs and no message waits, or an operator has paused the conversation, or it is closed.

    False while no member can speak and one is tried again later: such a pause ends by itself.
    """
    if status.phase == "paused":
        # While no member can speak, the conversation continues by itself at the next probe.
        return status.next_probe_at is None
    return status.phase == "closed" or (status.phase == "ready" and not status.pending.messages)

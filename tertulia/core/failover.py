"""Automatic roster changes: reactions to failures and recoveries of members and managers, and to spent budgets.

Invariant: each reaction is a roster change with a reason, applied at a turn boundary and kept in the audit like an
operator's. No reaction ends a conversation.
"""

from datetime import timedelta

from tertulia.core.budget_checks import find_spent_member_budget
from tertulia.core.events import TurnCompleted
from tertulia.core.health import (
    Health,
    TurnTime,
    health_after_failure,
    health_after_success,
    isolate,
    retry_reason,
    start_probation,
)
from tertulia.core.ids import AgentId
from tertulia.core.pending_changes import automatic_command_id, enqueue_change, expected_roster
from tertulia.core.roster import Manager, Member, MemberRef, Roster
from tertulia.core.roster_changes import ManagerHealthChanged, MemberHealthChanged, MemberMuted
from tertulia.core.state import ConversationState, Outage

NO_PARTICIPANTS = "no_available_participants"


def record_member_result(state: ConversationState, event: TurnCompleted) -> ConversationState:
    """Enqueue the change of the speaker's health, if the turn causes one."""
    # A member whose removal is pending has no health to change; a dropped turn says nothing about its model.
    member = expected_roster(state).find(event.speaker.agent_id)
    if member is None or event.outcome in ("discarded", "cancelled"):
        return state
    turn_time = TurnTime(turn=event.turn, at=event.at)
    if event.outcome == "failed":
        return _enqueue_health_change(
            state,
            member,
            health_after_failure(member.health, state.settings, turn_time, event.error or event.text_preview),
        )
    return _enqueue_health_change(
        state, member, health_after_success(member.health, turn_time, event.fallback_index, event.error)
    )


def isolate_all_members(state: ConversationState, turn_time: TurnTime) -> ConversationState:
    """Isolate all members after each of them has failed in turn."""
    for seat in expected_roster(state).seats():
        health = isolate(seat.occupant.health, turn_time, "every member failed, one after the other")
        state = _enqueue_health_change(state, seat.occupant, health)
    return state


def start_probation_for_all(state: ConversationState, turn_time: TurnTime, reason: str) -> ConversationState:
    """Put all isolated members and managers on probation, because one member has answered after an outage."""
    roster = expected_roster(state)
    for member in roster.members:
        if member.health.state == "isolated" and member.state != "muted":
            state = _enqueue_health_change(state, member, start_probation(member.health, turn_time, reason))
    for manager in roster.managers:
        if manager.health.state == "isolated":
            state = _enqueue_manager_health_change(state, manager, start_probation(manager.health, turn_time, reason))
    return state


def start_probe(state: ConversationState, turn_time: TurnTime) -> ConversationState:
    """Put the next isolated member on probation; without one, or without an outage, return `state`."""
    roster = expected_roster(state)
    isolated = [member for member in roster.members if member.state == "active" and member.health.state == "isolated"]
    waiting = [member for member in isolated if member.agent_id not in state.floor.lap] or isolated
    if not waiting or state.outage is None:
        return state
    outage = state.outage.model_copy(update={"probes": state.outage.probes + 1, "probe_requested": False})
    member = waiting[state.outage.probes % len(waiting)]
    health = start_probation(member.health, turn_time, "no other member can speak")
    return _enqueue_health_change(state.model_copy(update={"outage": outage}), member, health)


def record_manager_result(
    state: ConversationState,
    manager_ref: MemberRef,
    turn_time: TurnTime,
    *,
    failed: str = "",
    fallback_index: int = 0,
    error: str = "",
) -> ConversationState:
    """Enqueue the change of a manager's health, if its answer causes one.

    Args:
        state: the current state.
        manager_ref: the manager that was asked.
        turn_time: time of the answer.
        failed: why it did not choose; empty = it chose or finished the round.
        fallback_index: index of its model that answered.
        error: failure before the answer.
    """
    manager = expected_roster(state).find_manager(manager_ref.agent_id) or Manager(**manager_ref.model_dump())
    if failed:
        return _enqueue_manager_health_change(
            state, manager, health_after_failure(manager.health, state.settings, turn_time, failed)
        )
    return _enqueue_manager_health_change(
        state, manager, health_after_success(manager.health, turn_time, fallback_index, error)
    )


def apply_due_transitions(state: ConversationState) -> ConversationState:
    """Apply automatic transitions: budget mutes, cool-downs, stand-ins and outages. Idempotent."""
    if state.clock is None or state.stop or state.phase in ("terminating", "closed"):
        return state
    turn_time = TurnTime(turn=state.floor.turn, at=state.clock)
    for member in state.roster.members:
        state = _update_member(state, member.agent_id, turn_time)
    for manager in expected_roster(state).managers:
        if reason := _probation_reason(manager.health, state, turn_time):
            state = _enqueue_manager_health_change(state, manager, start_probation(manager.health, turn_time, reason))
    return state.model_copy(update={"outage": _update_outage(state, turn_time)})


def _update_member(state: ConversationState, agent_id: AgentId, turn_time: TurnTime) -> ConversationState:
    roster = expected_roster(state)
    member = roster.find(agent_id)
    if member is None or member.state == "muted":
        return state
    spent = find_spent_member_budget(state, member)
    if spent and (member.has_concluded or not spent.concludes):
        return enqueue_change(
            state, MemberMuted(command_id=automatic_command_id(state), member=member.ref, reason=spent.explanation)
        )
    # During an outage turns pass only by failures, so cool-downs do not apply: `start_probe` selects the member to try.
    if state.outage is None and (reason := _probation_reason(member.health, state, turn_time)):
        return _enqueue_health_change(state, member, start_probation(member.health, turn_time, reason))
    if (
        member.health.state == "isolated"
        and roster.find_stand_in(agent_id) is None
        and _find_stand_in(state, roster, member)
    ):
        return _enqueue_health_change(state, member, member.health)
    return state


def _probation_reason(health: Health, state: ConversationState, turn_time: TurnTime) -> str | None:
    if health.state != "isolated" and not (health.state == "suspect" and health.fallback_index):
        return None
    return retry_reason(health, state.settings, turn_time)


def _enqueue_health_change(state: ConversationState, member: Member, health: Health) -> ConversationState:
    stand_in = None
    if health.state == "isolated":
        roster = expected_roster(state)
        stand_in = roster.find_stand_in(member.agent_id) or _find_stand_in(state, roster, member)
    if health == member.health and stand_in is None:
        return state
    change = MemberHealthChanged(
        command_id=automatic_command_id(state),
        member=member.ref,
        health=health,
        stand_in=stand_in.ref if stand_in else None,
    )
    return enqueue_change(state, change)


def _find_stand_in(state: ConversationState, roster: Roster, member: Member) -> Member | None:
    if "standby" not in state.settings.failure_steps or member.state != "active":
        return None
    return roster.find_free_standby(member.agent_id)


def can_use_fallbacks(state: ConversationState, owner: AgentId) -> bool:
    """Return whether a failed turn of `owner` tries its fallback models: not if a substitute comes first."""
    steps = state.settings.failure_steps
    if "fallback_model" not in steps:
        return False
    if "standby" not in steps or steps.index("fallback_model") < steps.index("standby"):
        return True
    return state.roster.find_stand_in(owner) is None and state.roster.find_free_standby(owner) is None


def _enqueue_manager_health_change(state: ConversationState, manager: Manager, health: Health) -> ConversationState:
    if health == manager.health:
        return state
    return enqueue_change(
        state, ManagerHealthChanged(command_id=automatic_command_id(state), manager=manager.ref, health=health)
    )


def _update_outage(state: ConversationState, turn_time: TurnTime) -> Outage | None:
    """Return the outage, with the time of its next probe, if no member can speak; the interval grows."""
    roster = expected_roster(state)
    seats = roster.seats()
    if state.round is None or any(seat.occupant.health.state != "probation" for seat in seats):
        return None
    failed_at = [
        member.health.since
        for member in roster.members
        if member.state == "active" and member.health.state == "isolated"
    ]
    if seats:
        return state.outage
    if not failed_at:
        return None
    outage = state.outage or Outage(since=turn_time.at, next_probe_at=turn_time.at)
    last_failure = max((time for time in failed_at if time is not None), default=turn_time.at)
    # Counted from the failure, not from now, so that repeated calls give the same time.
    due = outage.since if outage.probe_requested else last_failure + _probe_interval(state, outage)
    return outage.model_copy(update={"next_probe_at": due})


def _probe_interval(state: ConversationState, outage: Outage) -> timedelta:
    settings = state.settings
    # The exponent is bounded because a float overflows at 2**1024.
    seconds = settings.probe_initial_seconds * 2.0 ** min(outage.probes, 30)
    return timedelta(seconds=min(seconds, max(settings.probe_maximum_seconds, settings.probe_initial_seconds)))

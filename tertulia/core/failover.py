"""What a conversation does by itself when members and managers fail and recover, or have spent their budgets.

Law: whatever is done is a change of the roster with its reason, applied at a turn boundary and kept in the audit like
an operator's. Nothing here ends a conversation.
"""

from datetime import timedelta

from tertulia.core.budget_checks import member_spent
from tertulia.core.events import TurnCompleted
from tertulia.core.health import (
    Health,
    Moment,
    after_failure,
    after_success,
    cool_down_over,
    isolated,
    on_probation,
)
from tertulia.core.ids import AgentId
from tertulia.core.pending_changes import automatic_id, expected_roster, queued
from tertulia.core.roster import Manager, Member, MemberRef, Roster
from tertulia.core.roster_changes import ManagerHealthChanged, MemberHealthChanged, MemberMuted
from tertulia.core.state import ConversationState, Outage

NO_PARTICIPANTS = "no_available_participants"


def member_fared(state: ConversationState, event: TurnCompleted) -> ConversationState:
    """The state with the change of health, if any, that the turn means for its speaker."""
    member = expected_roster(state).find(event.speaker.agent_id)
    if member is None or event.outcome in ("discarded", "cancelled"):
        return state
    moment = Moment(turn=event.turn, at=event.at)
    if event.outcome == "failed":
        return _with_health(
            state, member, after_failure(member.health, state.settings, moment, event.trouble or event.said)
        )
    return _with_health(state, member, after_success(member.health, moment, event.model, event.trouble))


def all_isolated(state: ConversationState, moment: Moment) -> ConversationState:
    """The state when every member has failed, one after the other: it is no use to ask them again at once."""
    for seat in expected_roster(state).seats():
        health = isolated(seat.occupant.health, moment, "every member failed, one after the other")
        state = _with_health(state, seat.occupant, health)
    return state


def all_on_probation(state: ConversationState, moment: Moment, reason: str) -> ConversationState:
    """The state when somebody answers again after nobody did."""
    roster = expected_roster(state)
    for member in roster.members:
        if member.health.state == "isolated" and member.state != "muted":
            state = _with_health(state, member, on_probation(member.health, moment, reason))
    for manager in roster.managers:
        if manager.health.state == "isolated":
            state = _with_manager_health(state, manager, on_probation(manager.health, moment, reason))
    return state


def probed(state: ConversationState, moment: Moment) -> ConversationState:
    """The state in which the next in the rotation of those isolated is tried."""
    roster = expected_roster(state)
    able = [member for member in roster.members if member.state == "active" and member.health.state == "isolated"]
    waiting = [member for member in able if member.agent_id not in state.floor.lap] or able
    if not waiting or state.outage is None:
        return state
    outage = state.outage.model_copy(update={"probes": state.outage.probes + 1, "asked": False})
    member = waiting[state.outage.probes % len(waiting)]
    health = on_probation(member.health, moment, "nobody else is left")
    return _with_health(state.model_copy(update={"outage": outage}), member, health)


def manager_fared(
    state: ConversationState, who: MemberRef, moment: Moment, *, failed: str = "", model: int = 0, trouble: str = ""
) -> ConversationState:
    """The state with the change of health that being asked means for a manager; `failed` says why it did not choose."""
    manager = expected_roster(state).find_manager(who.agent_id) or Manager(**who.model_dump())
    if failed:
        return _with_manager_health(state, manager, after_failure(manager.health, state.settings, moment, failed))
    return _with_manager_health(state, manager, after_success(manager.health, moment, model, trouble))


def attended(state: ConversationState) -> ConversationState:
    """The state with all that is due by itself now. Done again, it changes nothing."""
    if state.clock is None or state.stop or state.phase in ("terminating", "closed"):
        return state
    moment = Moment(turn=state.floor.turn, at=state.clock)
    for member in state.roster.members:
        state = _cared_for(state, member.agent_id, moment)
    for manager in expected_roster(state).managers:
        if why := _trial_due(manager.health, state, moment):
            state = _with_manager_health(state, manager, on_probation(manager.health, moment, why))
    return state.model_copy(update={"outage": _outage(state, moment)})


def _cared_for(state: ConversationState, agent_id: AgentId, moment: Moment) -> ConversationState:
    roster = expected_roster(state)
    member = roster.find(agent_id)
    if member is None or member.state == "muted":
        return state
    spent = member_spent(state, member)
    if spent and (member.had_last_word or not spent.concludes):
        return queued(state, MemberMuted(command_id=automatic_id(state), member=member.ref, reason=spent.explanation))
    # While nobody can speak, only failures would make the turns pass: then `probed` says who is tried, and when.
    if state.outage is None and (why := _trial_due(member.health, state, moment)):
        return _with_health(state, member, on_probation(member.health, moment, why))
    if member.health.state == "isolated" and roster.stand_in_of(agent_id) is None and _stand_in(state, roster, member):
        return _with_health(state, member, member.health)
    return state


def _trial_due(health: Health, state: ConversationState, moment: Moment) -> str | None:
    if health.state != "isolated" and not (health.state == "suspect" and health.model):
        return None
    return cool_down_over(health, state.settings, moment)


def _with_health(state: ConversationState, member: Member, health: Health) -> ConversationState:
    stand_in = None
    if health.state == "isolated":
        roster = expected_roster(state)
        stand_in = roster.stand_in_of(member.agent_id) or _stand_in(state, roster, member)
    if health == member.health and stand_in is None:
        return state
    change = MemberHealthChanged(
        command_id=automatic_id(state), member=member.ref, health=health, stand_in=stand_in.ref if stand_in else None
    )
    return queued(state, change)


def _stand_in(state: ConversationState, roster: Roster, member: Member) -> Member | None:
    if "standby" not in state.settings.failure_steps or member.state != "active":
        return None
    return roster.free_standby(member.agent_id)


def asks_fallbacks(state: ConversationState, owner: AgentId) -> bool:
    """Whether the agent's fallback models are asked when its own fails: not if a substitute is there and goes first."""
    steps = state.settings.failure_steps
    if "fallback_model" not in steps:
        return False
    if "standby" not in steps or steps.index("fallback_model") < steps.index("standby"):
        return True
    return state.roster.stand_in_of(owner) is None and state.roster.free_standby(owner) is None


def _with_manager_health(state: ConversationState, manager: Manager, health: Health) -> ConversationState:
    if health == manager.health:
        return state
    return queued(state, ManagerHealthChanged(command_id=automatic_id(state), manager=manager.ref, health=health))


def _outage(state: ConversationState, moment: Moment) -> Outage | None:
    """Whether nobody is left who could speak, and when someone is tried next: after growing intervals."""
    roster = expected_roster(state)
    seats = roster.seats()
    if state.round is None or any(seat.occupant.health.state != "probation" for seat in seats):
        return None
    failed_at = [one.health.since for one in roster.members if one.state == "active" and one.health.state == "isolated"]
    if seats:
        return state.outage
    if not failed_at:
        return None
    outage = state.outage or Outage(since=moment.at, next_probe_at=moment.at)
    last_failure = max((at for at in failed_at if at is not None), default=moment.at)
    due = outage.since if outage.asked else last_failure + _rest(state, outage)
    return outage.model_copy(update={"next_probe_at": due})


def _rest(state: ConversationState, outage: Outage) -> timedelta:
    settings = state.settings
    seconds = settings.probe_initial_seconds * 2.0 ** min(outage.probes, 30)
    return timedelta(seconds=min(seconds, max(settings.probe_maximum_seconds, settings.probe_initial_seconds)))

"""What is next within a round, and when the round is over and why."""

from tertulia.core.budget_checks import conversation_spent, member_spent
from tertulia.core.decisions import AskManager, CloseRound, Decision, RecordPosts, TakeTurn, WaitForInput
from tertulia.core.group import DEFAULT_DYNAMIC_TURNS, Dynamic, RoundRobin
from tertulia.core.ids import AgentId
from tertulia.core.roster import Manager, Member, MemberRef
from tertulia.core.selection import Ask, Nobody, Speak, least_recently_heard, seat_of, select
from tertulia.core.state import Chosen, ConversationState, Round
from tertulia.core.termination import AnyOf, MaxTurns, Met, Progress, TerminationToken, tokens_in


def next_in_round(state: ConversationState, current: Round) -> Decision:
    """What is to be done next while this round runs."""
    if ended := _ended(state, current):
        return ended
    if state.settings.intake == "interject" and state.pending_posts:
        return RecordPosts(posts=state.pending_posts, first_seq=state.last_seq + 1, round=current.number)
    if chosen := _stand_in(state, current) or _last_word(state):
        return turn_of(state, chosen)
    match select(state.roster, state.floor, state.manager_config):
        case Speak() as choice:
            return turn_of(state, _chosen(state, choice))
        case Ask() as question:
            return _led(state, current, question)
        case Nobody():
            return WaitForInput(phase="paused", until=state.outage.next_probe_at if state.outage else None)


def turn_of(state: ConversationState, chosen: Chosen) -> TakeTurn:
    """The next turn, taken by that one."""
    who = state.roster.find(chosen.member.agent_id) or _manager(state, chosen.member.agent_id)
    return TakeTurn(
        turn=state.floor.turn + 1,
        chosen=chosen,
        first_model=who.health.model if who else 0,
        trial=who is not None and who.health.state == "probation",
        conclude=chosen.reason if chosen.chosen_by == "conclusion" else "",
    )


def _ended(state: ConversationState, current: Round) -> Decision | None:
    """A spent budget closes the conversation, after a turn that sums up; another condition ends the round."""
    if spent := conversation_spent(state):
        speaker = _concluder(state) if spent.concludes and not current.concluded else None
        if speaker is None:
            return CloseRound(reason=spent.reason, explanation=spent.explanation, closes=True)
        reason = f"sums up: {spent.explanation}"
        return turn_of(state, Chosen(member=speaker, chosen_by="conclusion", reason=reason, closing=True))
    met = why_round_ends(state, current)
    return CloseRound(reason=met.reason, explanation=met.explanation) if met else None


def _concluder(state: ConversationState) -> MemberRef | None:
    """The manager, if it is well; or else the last speaker, if it can speak; or else anybody who can."""
    if manager := _well_manager(state, ()):
        return manager.ref
    active = state.roster.active()
    last = next((member for member in active if member.agent_id == state.floor.last_speaker), None)
    speaker = last or next(iter(active), None)
    return speaker.ref if speaker else None


def _last_word(state: ConversationState) -> Chosen | None:
    """A member whose own budget is spent concludes for itself, before it falls silent."""
    for member in state.roster.active():
        spent = None if member.had_last_word else member_spent(state, member)
        if spent and spent.concludes:
            return Chosen(member=member.ref, chosen_by="conclusion", reason=f"has its last word: {spent.explanation}")
    return None


def _stand_in(state: ConversationState, current: Round) -> Chosen | None:
    """One on standby takes the turn that has just failed."""
    owner = state.roster.find(current.vacant) if current.vacant else None
    if owner is None:
        return None
    member = state.roster.stand_in_of(owner.agent_id) or state.roster.free_standby(owner.agent_id)
    if member is None:
        return None
    trouble = state.recent_turns[-1].trouble if state.recent_turns else ""
    reason = f"in place of {owner.name}, who could not speak" + (f": {trouble}" if trouble else "")
    return Chosen(member=member.ref, chosen_by="standby", reason=reason, in_place_of=owner.agent_id)


def _led(state: ConversationState, current: Round, question: Ask) -> Decision:
    """The first manager that is well and has not been asked in vain is asked; without one, the fallback rule speaks."""
    turn = state.floor.turn + 1
    if manager := _well_manager(state, current.managers_tried):
        return AskManager(
            turn=turn,
            candidates=question.candidates,
            manager=manager.ref,
            note=question.note,
            first_model=manager.health.model,
            trial=manager.health.state == "probation",
        )
    speaker = least_recently_heard(state.roster, question.candidates)
    if speaker is None:
        return WaitForInput(phase="paused")
    trouble = current.managers_trouble or "; ".join(
        f"{one.name} is isolated: {one.health.reason}" for one in managers_of(state)
    )
    notes = [question.note, trouble, f"{state.roster.get(speaker).name} is the least recently heard"]
    reason = "; ".join(note for note in notes if note)
    return turn_of(state, _chosen(state, Speak(agent_id=speaker, chosen_by="fallback", reason=reason)))


def _chosen(state: ConversationState, choice: Speak) -> Chosen:
    seat = seat_of(state.roster, choice.agent_id)
    return Chosen(
        member=state.roster.get(choice.agent_id).ref,
        chosen_by=choice.chosen_by,
        reason=choice.reason,
        in_place_of=choice.in_place_of or (seat.owner if seat and seat.owner != choice.agent_id else None),
    )


def managers_of(state: ConversationState) -> tuple[Manager, ...]:
    """The agents that may manage, in the order in which they are asked."""
    rules = state.manager_config
    if not isinstance(rules, Dynamic):
        return ()
    known = {manager.agent_id: manager for manager in state.roster.managers}
    return tuple(known.get(one, Manager(agent_id=one, name=one)) for one in rules.manager_ids)


def _manager(state: ConversationState, agent_id: AgentId) -> Manager | None:
    return next((manager for manager in managers_of(state) if manager.agent_id == agent_id), None)


def _well_manager(state: ConversationState, tried: tuple[AgentId, ...]) -> Manager | None:
    return next(
        (one for one in managers_of(state) if one.agent_id not in tried and one.health.state != "isolated"), None
    )


def ending(state: ConversationState) -> AnyOf:
    """The condition that ends this conversation's rounds: the manager's rules and the group's own."""
    rules = state.manager_config
    conditions: list[MaxTurns | TerminationToken] = []
    if rules.termination_token is not None:
        conditions.append(TerminationToken(token=rules.termination_token))
    conditions.append(MaxTurns(limit=max_turns(state)))
    own = (state.settings.termination,) if state.settings.termination else ()
    return AnyOf(conditions=(*conditions, *own))


def max_turns(state: ConversationState) -> int:
    """The most turns that a round has now: as configured, or what the kind of manager takes by default."""
    if state.manager_config.max_turns is not None:
        return state.manager_config.max_turns
    if isinstance(state.manager_config, RoundRobin):
        return max(len(present(state)), 1)
    return DEFAULT_DYNAMIC_TURNS


def present(state: ConversationState) -> tuple[Member, ...]:
    """The owners of the seats that count now: those of which somebody can speak; while nobody can, all."""
    seated = {seat.owner for seat in state.roster.seats()}
    return tuple(
        member
        for member in state.roster.members
        if member.agent_id in seated or (state.outage and member.state == "active")
    )


def termination_tokens(state: ConversationState) -> tuple[str, ...]:
    """The words that participants are told of and whose use is noticed."""
    return tuple(dict.fromkeys(tokens_in(ending(state))))


def why_round_ends(state: ConversationState, current: Round) -> Met | None:
    """The condition that holds now, if any does."""
    if current.finished_because is not None:
        return Met(reason="manager_finish", explanation=f"the manager finished: {current.finished_because}")
    if met := ending(state).met(progress_of(state, current)):
        return met
    seats = len(present(state))
    if seats and current.quiet >= seats:
        return Met(reason="all_passed", explanation="every member passed, one after the other")
    return None


def progress_of(state: ConversationState, current: Round) -> Progress:
    """What the round has come to so far."""
    elapsed = (state.clock - current.started_at).total_seconds() if state.clock else 0.0
    return Progress(
        turns=current.turns,
        tokens=state.usage.total_tokens - current.usage_before.total_tokens,
        conversation_tokens=state.usage.total_tokens,
        seconds=elapsed,
        tokens_said=current.tokens_said,
    )

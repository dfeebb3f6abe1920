"""Decisions within a round: the next step, and the end of the round with its reason."""

from tertulia.core.budget_checks import find_spent_conversation_budget, find_spent_member_budget
from tertulia.core.decisions import AskManager, CloseRound, Decision, RecordPosts, TakeTurn, WaitForInput
from tertulia.core.group import DynamicConfig
from tertulia.core.ids import AgentId
from tertulia.core.roster import Manager, Member, MemberRef
from tertulia.core.selection import (
    ManagerRequired,
    NoSpeaker,
    SelectedSpeaker,
    find_seat,
    least_recent_speaker,
    select_speaker,
)
from tertulia.core.state import ConversationState, NextSpeaker, Round
from tertulia.core.termination import (
    AnyOf,
    MaxTurns,
    RoundProgress,
    TerminationResult,
    TerminationToken,
    termination_tokens_in,
)

DYNAMIC_TURNS_OF_RULES_1 = 20
"""Default of `max_turns` for dynamic groups in conversations of rules version 1."""


def decide_in_round(state: ConversationState, current: Round) -> Decision:
    """Return the next decision while a round runs."""
    if ended := _decide_round_end(state, current):
        return ended
    if state.settings.intake == "interject" and state.pending_posts:
        return RecordPosts(posts=state.pending_posts, first_seq=state.last_seq + 1, round=current.number)
    # A failed turn is repeated by a member on standby before any other turn.
    if chosen := _choose_stand_in(state, current) or _choose_concluding_member(state):
        return build_take_turn(state, chosen)
    match select_speaker(state.roster, state.floor, state.manager_config):
        case SelectedSpeaker() as choice:
            return build_take_turn(state, _to_next_speaker(state, choice))
        case ManagerRequired() as question:
            return _ask_manager(state, current, question)
        case NoSpeaker():
            return WaitForInput(phase="paused", until=state.outage.next_probe_at if state.outage else None)


def build_take_turn(state: ConversationState, chosen: NextSpeaker) -> TakeTurn:
    """Build the `TakeTurn` decision for `chosen`."""
    speaker = state.roster.find(chosen.member.agent_id) or _find_manager(state, chosen.member.agent_id)
    return TakeTurn(
        turn=state.floor.turn + 1,
        chosen=chosen,
        first_fallback_index=speaker.health.fallback_index if speaker else 0,
        trial=speaker is not None and speaker.health.state == "probation",
        conclude=chosen.reason if chosen.chosen_by == "conclusion" else "",
    )


def _decide_round_end(state: ConversationState, current: Round) -> Decision | None:
    if closing := _decide_budget_end(state, current, next_calls=1):
        return closing
    result = check_round_end(state, current)
    return CloseRound(reason=result.reason, explanation=result.explanation) if result else None


def _decide_budget_end(state: ConversationState, current: Round, *, next_calls: int) -> Decision | None:
    """Return the concluding turn, then the end of the conversation, if one of its budgets is spent."""
    spent = find_spent_conversation_budget(state, next_calls=next_calls)
    if spent is None:
        return None
    speaker = _concluding_speaker(state) if spent.concludes and not current.concluded else None
    if speaker is None:
        return CloseRound(reason=spent.reason, explanation=spent.explanation, closes=True)
    reason = f"sums up: {spent.explanation}"
    chosen = NextSpeaker(member=speaker, chosen_by="conclusion", reason=reason, closes_conversation=True)
    return build_take_turn(state, chosen)


def _concluding_speaker(state: ConversationState) -> MemberRef | None:
    """Return the first available manager, else the last speaker, else any member that can speak."""
    if manager := _available_manager(state, ()):
        return manager.ref
    active = state.roster.active_members()
    last = next((member for member in active if member.agent_id == state.floor.last_speaker), None)
    speaker = last or next(iter(active), None)
    return speaker.ref if speaker else None


def _choose_concluding_member(state: ConversationState) -> NextSpeaker | None:
    """Return a member whose own budget is spent and that has not concluded; it is muted after that turn."""
    for member in state.roster.active_members():
        spent = None if member.has_concluded else find_spent_member_budget(state, member)
        if spent and spent.concludes:
            return NextSpeaker(
                member=member.ref, chosen_by="conclusion", reason=f"has its last turn: {spent.explanation}"
            )
    return None


def _choose_stand_in(state: ConversationState, current: Round) -> NextSpeaker | None:
    """Return the member on standby that takes the turn that has just failed."""
    owner = state.roster.find(current.vacant_seat) if current.vacant_seat else None
    if owner is None:
        return None
    member = state.roster.find_stand_in(owner.agent_id) or state.roster.find_free_standby(owner.agent_id)
    if member is None:
        return None
    error = state.recent_turns[-1].error if state.recent_turns else ""
    reason = f"in place of {owner.name}, who could not speak" + (f": {error}" if error else "")
    return NextSpeaker(member=member.ref, chosen_by="standby", reason=reason, in_place_of=owner.agent_id)


def _ask_manager(state: ConversationState, current: Round, question: ManagerRequired) -> Decision:
    """Ask the first available manager that has not failed for this turn; without one, apply the fallback rule."""
    turn = state.floor.turn + 1
    if manager := _available_manager(state, current.managers_tried):
        # The manager's call and the speaker's both come before the concluding one.
        if closing := _decide_budget_end(state, current, next_calls=2):
            return closing
        return AskManager(
            turn=turn,
            candidates=question.candidates,
            manager=manager.ref,
            note=question.note,
            first_fallback_index=manager.health.fallback_index,
            trial=manager.health.state == "probation",
        )
    speaker = least_recent_speaker(state.roster, question.candidates)
    if speaker is None:
        return WaitForInput(phase="paused")
    managers_error = current.managers_error or "; ".join(
        f"{manager.name} is isolated: {manager.health.reason}" for manager in ordered_managers(state)
    )
    notes = [question.note, managers_error, f"{state.roster.get(speaker).name} has waited longest"]
    reason = "; ".join(note for note in notes if note)
    return build_take_turn(
        state, _to_next_speaker(state, SelectedSpeaker(agent_id=speaker, chosen_by="fallback", reason=reason))
    )


def _to_next_speaker(state: ConversationState, choice: SelectedSpeaker) -> NextSpeaker:
    seat = find_seat(state.roster, choice.agent_id)
    return NextSpeaker(
        member=state.roster.get(choice.agent_id).ref,
        chosen_by=choice.chosen_by,
        reason=choice.reason,
        in_place_of=choice.in_place_of or (seat.owner if seat and seat.owner != choice.agent_id else None),
    )


def ordered_managers(state: ConversationState) -> tuple[Manager, ...]:
    """Return the managing agents in the order in which they are asked; empty for a group managed by a rule."""
    rules = state.manager_config
    if not isinstance(rules, DynamicConfig):
        return ()
    known = {manager.agent_id: manager for manager in state.roster.managers}
    return tuple(known.get(agent_id, Manager(agent_id=agent_id, name=agent_id)) for agent_id in rules.manager_ids)


def _find_manager(state: ConversationState, agent_id: AgentId) -> Manager | None:
    return next((manager for manager in ordered_managers(state) if manager.agent_id == agent_id), None)


def _available_manager(state: ConversationState, tried: tuple[AgentId, ...]) -> Manager | None:
    return next(
        (
            manager
            for manager in ordered_managers(state)
            if manager.agent_id not in tried and manager.health.state != "isolated"
        ),
        None,
    )


def round_end_condition(state: ConversationState) -> AnyOf:
    """Return the condition that ends rounds: the manager's token and turn limit, and the group's own condition."""
    rules = state.manager_config
    conditions: list[MaxTurns | TerminationToken] = []
    if rules.termination_token is not None:
        conditions.append(TerminationToken(token=rules.termination_token))
    conditions.append(MaxTurns(limit=effective_max_turns(state)))
    own = (state.settings.termination,) if state.settings.termination else ()
    return AnyOf(conditions=(*conditions, *own))


def effective_max_turns(state: ConversationState) -> int:
    """Return the turn limit of a round: as configured, by default the number of active members."""
    if state.manager_config.max_turns is not None:
        return state.manager_config.max_turns
    # A changed limit would end rounds of running conversations elsewhere than their history did.
    if state.rules_version == 1 and isinstance(state.manager_config, DynamicConfig):
        return DYNAMIC_TURNS_OF_RULES_1
    return max(len(seated_members(state)), 1)


def seated_members(state: ConversationState) -> tuple[Member, ...]:
    """Return the owners of seats that can be taken; during an outage, all members with state `active`."""
    seated = {seat.owner for seat in state.roster.seats()}
    return tuple(
        member
        for member in state.roster.members
        if member.agent_id in seated or (state.outage and member.state == "active")
    )


def termination_tokens(state: ConversationState) -> tuple[str, ...]:
    """Return the tokens that prompts mention and that are searched for in messages."""
    return tuple(dict.fromkeys(termination_tokens_in(round_end_condition(state))))


def check_round_end(state: ConversationState, current: Round) -> TerminationResult | None:
    """Return the condition that ends the round now, if any."""
    if current.finished_because is not None:
        return TerminationResult(
            reason="manager_finish", explanation=f"the manager finished: {current.finished_because}"
        )
    if result := round_end_condition(state).evaluate(round_progress(state, current)):
        return result
    seats = len(seated_members(state))
    if seats and current.consecutive_passes >= seats:
        return TerminationResult(reason="all_passed", explanation="every member passed, one after the other")
    return None


def round_progress(state: ConversationState, current: Round) -> RoundProgress:
    """Return the counters that conditions are evaluated on."""
    elapsed = (state.clock - current.started_at).total_seconds() if state.clock else 0.0
    return RoundProgress(
        turns=current.turns,
        tokens=state.usage.total_tokens - current.usage_before.total_tokens,
        conversation_tokens=state.usage.total_tokens,
        seconds=elapsed,
        tokens_found=current.tokens_found,
    )

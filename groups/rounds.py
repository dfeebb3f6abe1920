"""When the present round of a conversation is over, and why."""

from groups.group import DEFAULT_DYNAMIC_TURNS, RoundRobin
from groups.state import ConversationState, Round
from groups.termination import AnyOf, MaxTurns, Met, Progress, TerminationToken, tokens_in


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
        return max(len(state.roster.active()), 1)
    return DEFAULT_DYNAMIC_TURNS


def termination_tokens(state: ConversationState) -> tuple[str, ...]:
    """The words that participants are told of and whose use is noticed."""
    return tuple(dict.fromkeys(tokens_in(ending(state))))


def why_round_ends(state: ConversationState, current: Round) -> Met | None:
    """The condition that holds now, if any does."""
    if current.finished_because is not None:
        return Met(reason="manager_finish", explanation=f"the manager finished: {current.finished_because}")
    if met := ending(state).met(progress_of(state, current)):
        return met
    active = len(state.roster.active())
    if active and current.quiet >= active:
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

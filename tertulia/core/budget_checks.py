"""Which budgets of a conversation are spent."""

from tertulia.core.budgets import Reached, reached
from tertulia.core.roster import Member
from tertulia.core.state import ConversationState


def seconds_of(state: ConversationState) -> float:
    """How long all rounds took together, the present one included."""
    if state.round is None or state.clock is None:
        return state.seconds
    return state.seconds + (state.clock - state.round.started_at).total_seconds()


def conversation_spent(state: ConversationState) -> Reached | None:
    """The first budget of the whole conversation that is spent."""
    for budget in state.settings.budgets:
        if budget.scope == "conversation":
            if met := reached(budget, state.usage, seconds_of(state), "the conversation"):
                return met
    return None


def member_spent(state: ConversationState, member: Member) -> Reached | None:
    """The first budget of that member that is spent."""
    for budget in state.settings.budgets:
        if budget.scope == "member" and (budget.member is None or _is(member, budget.member)):
            if met := reached(budget, member.usage, member.seconds, member.name):
                return met
    return None


def _is(member: Member, who: str) -> bool:
    return who in (member.agent_id, member.name) or member.name.casefold() == who.casefold()

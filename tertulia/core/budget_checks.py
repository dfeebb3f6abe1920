"""Which budgets of a conversation are spent."""

from tertulia.core.budgets import SpentBudget, check_budget
from tertulia.core.roster import Member
from tertulia.core.state import ConversationState


def elapsed_seconds(state: ConversationState) -> float:
    """How long all rounds took together, the present one included."""
    if state.round is None or state.clock is None:
        return state.seconds
    return state.seconds + (state.clock - state.round.started_at).total_seconds()


def find_spent_conversation_budget(state: ConversationState) -> SpentBudget | None:
    """The first budget of the whole conversation that is spent."""
    for budget in state.settings.budgets:
        if budget.scope == "conversation":
            if spent := check_budget(budget, state.usage, elapsed_seconds(state), "the conversation"):
                return spent
    return None


def find_spent_member_budget(state: ConversationState, member: Member) -> SpentBudget | None:
    """The first budget of that member that is spent."""
    for budget in state.settings.budgets:
        if budget.scope == "member" and (budget.member is None or _matches_member(member, budget.member)):
            if spent := check_budget(budget, member.usage, member.seconds, member.name):
                return spent
    return None


def _matches_member(member: Member, id_or_name: str) -> bool:
    return id_or_name in (member.agent_id, member.name) or member.name.casefold() == id_or_name.casefold()

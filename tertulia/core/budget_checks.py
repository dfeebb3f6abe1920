"""Find the spent budgets of a conversation and of its members."""

from tertulia.core.budgets import Budget, SpentBudget, check_budget
from tertulia.core.roster import Member
from tertulia.core.state import ConversationState


def elapsed_seconds(state: ConversationState) -> float:
    """Return the wall time of all rounds in seconds, the present one included."""
    if state.round is None or state.clock is None:
        return state.seconds
    return state.seconds + (state.clock - state.round.started_at).total_seconds()


def find_spent_conversation_budget(state: ConversationState, *, next_calls: int = 1) -> SpentBudget | None:
    """Return the first spent budget of the conversation, or None.

    Args:
        state: the conversation.
        next_calls: model calls that the next step makes if all succeed; after them, one more must remain for the
            concluding turn.
    """
    for budget in state.settings.budgets:
        if budget.scope == "conversation":
            reserved = _reserved_calls(state, budget, next_calls)
            spent = check_budget(
                budget, state.usage, elapsed_seconds(state), "the conversation", reserved_calls=reserved
            )
            if spent:
                return spent
    return None


def find_spent_member_budget(state: ConversationState, member: Member) -> SpentBudget | None:
    """Return the first spent budget of the member, or None."""
    for budget in state.settings.budgets:
        if budget.scope == "member" and (budget.member is None or _matches_member(member, budget.member)):
            reserved = _reserved_calls(state, budget, next_calls=1)
            if spent := check_budget(budget, member.usage, member.seconds, member.name, reserved_calls=reserved):
                return spent
    return None


def _reserved_calls(state: ConversationState, budget: Budget, next_calls: int) -> int:
    # Conversations of rules version 1 were decided without a reserve; their replay needs the same decisions.
    return next_calls if state.rules_version >= 2 and budget.on_reached == "conclude" else 0


def _matches_member(member: Member, id_or_name: str) -> bool:
    return id_or_name in (member.agent_id, member.name) or member.name.casefold() == id_or_name.casefold()

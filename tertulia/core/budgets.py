"""What a conversation, and each of its members, may use altogether: tokens, model calls, time.

Law: a budget is looked at before each turn, over all that is counted in the state, which holds across retries, crashes
and continue-as-new. So it is exceeded by one turn at most, and by the one that concludes.
"""

from typing import Annotated, Literal, Self

from pydantic import PositiveFloat, PositiveInt, StringConstraints, model_validator

from tertulia.core.base import Definition, Record
from tertulia.core.usage import Usage

MAX_BUDGETS = 20

BudgetReason = Literal["token_budget", "model_call_budget", "time_budget"]


class Budget(Definition):
    """A limit on what a conversation, or a member, may use."""

    scope: Literal["conversation", "member"] = "conversation"
    member: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Whose, by id or name; null = of each member alike. It counts from its joining."""
    tokens: PositiveInt | None = None
    """Prompt and completion tokens; the conversation's include the manager's."""
    model_calls: PositiveInt | None = None
    """Calls made, those that failed included."""
    seconds: PositiveFloat | None = None
    """Wall time: of all rounds, or of the member's turns."""
    on_reached: Literal["conclude", "stop"] = "conclude"
    """`conclude` = one more turn, to sum up: by the manager or, where there is none, the last speaker; or by the
    member itself. Then, as with `stop` at once, the conversation closes, or the member falls silent."""

    @model_validator(mode="after")
    def _require_limit(self) -> Self:
        if self.tokens is None and self.model_calls is None and self.seconds is None:
            raise ValueError("a budget limits at least one of tokens, model_calls and seconds")
        if self.member is not None and self.scope != "member":
            raise ValueError("member: only a budget with scope 'member' names one")
        return self


class SpentBudget(Record):
    """A budget that is spent: the name that is recorded, the sentence for a reader, and what follows."""

    reason: BudgetReason
    explanation: str
    concludes: bool


def check_budget(budget: Budget, usage: Usage, seconds: float, subject: str) -> SpentBudget | None:
    """Whether `subject` use has come to the budget's limit."""
    spent: tuple[tuple[BudgetReason, float, float | None, str], ...] = (
        ("token_budget", usage.total_tokens, budget.tokens, "tokens"),
        ("model_call_budget", usage.model_calls, budget.model_calls, "model calls"),
        ("time_budget", seconds, budget.seconds, "seconds"),
    )
    for reason, used, limit, unit in spent:
        if limit is not None and used >= limit:
            explanation = f"{subject} has used {used:.0f} {unit} of {limit:g}"
            return SpentBudget(reason=reason, explanation=explanation, concludes=budget.on_reached == "conclude")
    return None

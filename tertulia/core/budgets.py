"""Budgets: limits on the tokens, model calls and seconds that a conversation, or one member, may use in total.

Invariant: budgets are checked before each turn against counters in the state, which survive retries, crashes and
continue-as-new. A budget is exceeded by one turn at most, plus the concluding turn; a budget of model calls keeps one
call for the concluding turn.
"""

from typing import Annotated, Literal, Self

from pydantic import PositiveFloat, PositiveInt, StringConstraints, model_validator

from tertulia.core.base import Definition, Record
from tertulia.core.usage import Usage

MAX_BUDGETS = 20

BudgetReason = Literal["token_budget", "model_call_budget", "time_budget"]


class Budget(Definition):
    """A limit on what a conversation, or a member, may use in total."""

    scope: Literal["conversation", "member"] = "conversation"
    member: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Id or name of the member; null = each member has this budget. Counted from the member's joining."""
    tokens: PositiveInt | None = None
    """Prompt and completion tokens; the conversation's include the manager's."""
    model_calls: PositiveInt | None = None
    """Model calls, failed ones included. With `conclude`, one of them is reserved for the concluding turn."""
    seconds: PositiveFloat | None = None
    """Wall time in seconds of all rounds, or of the member's turns."""
    on_reached: Literal["conclude", "stop"] = "conclude"
    """`conclude`: one more turn sums up, taken by the manager (by the last speaker in a group without a manager agent),
    or by the member itself; then the conversation closes, or the member is muted. `stop`: it closes, or the member is
    muted, at once."""

    @model_validator(mode="after")
    def _require_limit(self) -> Self:
        if self.tokens is None and self.model_calls is None and self.seconds is None:
            raise ValueError("a budget must limit at least one of tokens, model_calls and seconds")
        if self.member is not None and self.scope != "member":
            raise ValueError("member: only a budget with scope 'member' can name a member")
        return self


class SpentBudget(Record):
    """A spent budget: the recorded reason, an explanation for readers, and the consequence."""

    reason: BudgetReason
    explanation: str
    concludes: bool
    """A concluding turn follows; false = close or mute at once."""


def check_budget(
    budget: Budget, usage: Usage, seconds: float, subject: str, *, reserved_calls: int = 0
) -> SpentBudget | None:
    """Return the spent budget if `usage` or `seconds` has reached its limit, else None.

    Args:
        budget: the limits.
        usage: tokens and calls used so far.
        seconds: wall time used so far.
        subject: whose usage it is; the explanation begins with it.
        reserved_calls: model calls to keep back; the limit on calls counts as reached this much earlier.
    """
    counters: tuple[tuple[BudgetReason, float, float | None, str, int], ...] = (
        ("token_budget", usage.total_tokens, budget.tokens, "tokens", 0),
        ("model_call_budget", usage.model_calls, budget.model_calls, "model calls", reserved_calls),
        ("time_budget", seconds, budget.seconds, "seconds", 0),
    )
    for reason, used, limit, unit, reserved in counters:
        if limit is not None and used >= limit - reserved:
            return SpentBudget(
                reason=reason,
                explanation=_explain(subject, used, limit, unit),
                concludes=budget.on_reached == "conclude",
            )
    return None


def _explain(subject: str, used: float, limit: float, unit: str) -> str:
    if used > limit:
        return f"{subject} has used {used:.0f} {unit}; the limit is {limit:g}"
    reserve = "" if used == limit else "; the rest is reserved for the conclusion"
    return f"{subject} has used {used:.0f} of {limit:g} {unit}{reserve}"

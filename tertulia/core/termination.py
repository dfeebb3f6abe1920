"""Conditions that end a round. Invariant: a condition has no state; evaluating it changes nothing."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tertulia.core.base import Definition, Record

DEFAULT_TERMINATION_TOKEN = "DONE!"


class RoundProgress(Record):
    """Progress of a round: the only input of conditions."""

    turns: int
    """Turns taken in this round."""
    tokens: int
    """Prompt and completion tokens of this round, including the manager's."""
    conversation_tokens: int
    """Prompt and completion tokens of the whole conversation."""
    seconds: float
    """Wall time since the start of the round, in seconds."""
    tokens_found: tuple[str, ...] = ()
    """Termination tokens found in this round's messages."""


class TerminationResult(Record):
    """A condition that holds: the recorded stop reason and an explanation for readers."""

    reason: str
    explanation: str


class MaxTurns(Definition):
    """Holds once the round has `limit` turns."""

    type: Literal["max_turns"] = "max_turns"
    limit: PositiveInt

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        if progress.turns < self.limit:
            return None
        if progress.turns > self.limit:
            explanation = f"{progress.turns} turns were taken; the limit is {self.limit}"
        else:
            explanation = f"{progress.turns} of at most {self.limit} turns were taken"
        return TerminationResult(reason="max_turns", explanation=explanation)


class TerminationToken(Definition):
    """Holds once a member's message contains `token`."""

    type: Literal["termination_token"] = "termination_token"
    token: str = Field(default=DEFAULT_TERMINATION_TOKEN, min_length=1, max_length=100)

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        if self.token not in progress.tokens_found:
            return None
        return TerminationResult(reason="termination_token", explanation=f"a member's message contains {self.token!r}")


class TokenBudget(Definition):
    """Holds once the round, or the whole conversation, has used `limit` model tokens."""

    type: Literal["token_budget"] = "token_budget"
    limit: PositiveInt
    scope: Literal["round", "conversation"] = "round"

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        used = progress.tokens if self.scope == "round" else progress.conversation_tokens
        if used < self.limit:
            return None
        return TerminationResult(
            reason="token_budget", explanation=f"the {self.scope} has used {used} tokens; the limit is {self.limit}"
        )


class TimeBudget(Definition):
    """Holds once the round has lasted `seconds`."""

    type: Literal["time_budget"] = "time_budget"
    seconds: PositiveFloat

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        if progress.seconds < self.seconds:
            return None
        explanation = f"the round lasted {progress.seconds:.0f} s; the limit is {self.seconds:g} s"
        return TerminationResult(reason="time_budget", explanation=explanation)


class AnyOf(Definition):
    """Holds if at least one condition holds; the first one gives the reason."""

    type: Literal["any"] = "any"
    conditions: tuple["Condition", ...] = Field(min_length=1, max_length=20)

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        return next((result for condition in self.conditions if (result := condition.evaluate(progress))), None)


class AllOf(Definition):
    """Holds if all conditions hold; the reason joins theirs with `+`."""

    type: Literal["all"] = "all"
    conditions: tuple["Condition", ...] = Field(min_length=1, max_length=20)

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        results = [condition.evaluate(progress) for condition in self.conditions]
        held = [result for result in results if result is not None]
        if len(held) < len(results):
            return None
        return TerminationResult(
            reason="+".join(dict.fromkeys(result.reason for result in held)),
            explanation=", and ".join(result.explanation for result in held),
        )


Condition = Annotated[
    MaxTurns | TerminationToken | TokenBudget | TimeBudget | AnyOf | AllOf, Field(discriminator="type")
]


def count_conditions(condition: Condition) -> int:
    """Return the number of conditions, counting this one and all nested ones."""
    parts = condition.conditions if isinstance(condition, AnyOf | AllOf) else ()
    return 1 + sum(map(count_conditions, parts))


def termination_tokens_in(condition: Condition) -> Iterator[str]:
    """Yield every termination token of the condition and its nested conditions, in the order written."""
    match condition:
        case TerminationToken(token=token):
            yield token
        case AnyOf(conditions=conditions) | AllOf(conditions=conditions):
            for part in conditions:
                yield from termination_tokens_in(part)


def find_tokens(text: str, tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `tokens` that occur in `text`."""
    return tuple(token for token in tokens if token in text)

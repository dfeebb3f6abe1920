"""When a round is over. Conditions are values without state, combined with any/all; asking one changes nothing."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tertulia.core.base import Definition, Record

DEFAULT_TERMINATION_TOKEN = "DONE!"


class RoundProgress(Record):
    """What a round has come to so far: all that a condition may look at."""

    turns: int
    """Turns taken in this round."""
    tokens: int
    """Prompt and completion tokens that this round has used, the manager's included."""
    conversation_tokens: int
    """The same for the whole conversation."""
    seconds: float
    """Wall time since the round began."""
    tokens_found: tuple[str, ...] = ()
    """The termination tokens that a participant has said in this round."""


class TerminationResult(Record):
    """A condition that holds: the name that is recorded as the stop reason, and the sentence for a reader."""

    reason: str
    explanation: str


class MaxTurns(Definition):
    """The round has had this many turns."""

    type: Literal["max_turns"] = "max_turns"
    limit: PositiveInt

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        if progress.turns < self.limit:
            return None
        return TerminationResult(
            reason="max_turns", explanation=f"{progress.turns} of at most {self.limit} turns were taken"
        )


class TerminationToken(Definition):
    """A participant has said the token."""

    type: Literal["termination_token"] = "termination_token"
    token: str = Field(default=DEFAULT_TERMINATION_TOKEN, min_length=1, max_length=100)

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        if self.token not in progress.tokens_found:
            return None
        return TerminationResult(reason="termination_token", explanation=f"a participant said {self.token!r}")


class TokenBudget(Definition):
    """The round, or the whole conversation, has used this many model tokens."""

    type: Literal["token_budget"] = "token_budget"
    limit: PositiveInt
    scope: Literal["round", "conversation"] = "round"

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        used = progress.tokens if self.scope == "round" else progress.conversation_tokens
        if used < self.limit:
            return None
        return TerminationResult(
            reason="token_budget", explanation=f"{used} tokens used, the {self.scope}'s budget is {self.limit}"
        )


class TimeBudget(Definition):
    """The round has lasted this many seconds."""

    type: Literal["time_budget"] = "time_budget"
    seconds: PositiveFloat

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        if progress.seconds < self.seconds:
            return None
        return TerminationResult(
            reason="time_budget", explanation=f"the round lasted {progress.seconds:.0f} s of {self.seconds:g} s"
        )


class AnyOf(Definition):
    """At least one of these conditions holds; the first that does gives the reason."""

    type: Literal["any"] = "any"
    conditions: tuple["Condition", ...] = Field(min_length=1, max_length=20)

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        return next((result for condition in self.conditions if (result := condition.evaluate(progress))), None)


class AllOf(Definition):
    """Every one of these conditions holds."""

    type: Literal["all"] = "all"
    conditions: tuple["Condition", ...] = Field(min_length=1, max_length=20)

    def evaluate(self, progress: RoundProgress) -> TerminationResult | None:
        result = [condition.evaluate(progress) for condition in self.conditions]
        held = [one for one in result if one is not None]
        if len(held) < len(result):
            return None
        return TerminationResult(
            reason="+".join(dict.fromkeys(one.reason for one in held)),
            explanation=", and ".join(one.explanation for one in held),
        )


Condition = Annotated[
    MaxTurns | TerminationToken | TokenBudget | TimeBudget | AnyOf | AllOf, Field(discriminator="type")
]


def count_conditions(condition: Condition) -> int:
    """How many conditions there are, this one and those inside it."""
    parts = condition.conditions if isinstance(condition, AnyOf | AllOf) else ()
    return 1 + sum(map(count_conditions, parts))


def termination_tokens_in(condition: Condition) -> Iterator[str]:
    """Every termination token that the condition looks for, in the order written."""
    match condition:
        case TerminationToken(token=token):
            yield token
        case AnyOf(conditions=conditions) | AllOf(conditions=conditions):
            for part in conditions:
                yield from termination_tokens_in(part)


def find_tokens(text: str, tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `tokens` that stand in `text`."""
    return tuple(token for token in tokens if token in text)

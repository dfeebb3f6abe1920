"""How a member, or a manager, fares: healthy -> suspect -> isolated -> probation -> healthy.

Law: nobody comes back from isolation but by a turn on probation that succeeds, or by an operator's word. Each further
isolation in a row lasts twice as long.
"""

from datetime import datetime
from typing import Annotated, Literal, Protocol

from tertulia.core.base import Record, wire_name

HealthState = Literal["healthy", "suspect", "isolated", "probation"]

_MAX_DOUBLINGS = 6


class Health(Record):
    """Where one stands, since when and why."""

    state: HealthState = "healthy"
    failures: int = 0
    """Failed turns in a row."""
    isolations: int = 0
    """Isolations in a row, without recovery between them."""
    since_turn: int = 0
    """The last turn that was taken before it came into this state."""
    since: datetime | None = None
    reason: str = ""
    fallback_index: Annotated[int, wire_name("model")] = 0
    """Which of the agent's models is asked first: 0 = its own, 1 = its first fallback…"""


HEALTHY = Health()


class HealthSettings(Protocol):
    """The settings that health goes by."""

    @property
    def isolate_after_failures(self) -> int: ...
    @property
    def cool_down_turns(self) -> int | None: ...
    @property
    def cool_down_seconds(self) -> float | None: ...


class TurnTime(Record):
    """When something happened."""

    turn: int
    """The last turn taken."""
    at: datetime


def health_after_failure(health: Health, rules: HealthSettings, turn_time: TurnTime, reason: str) -> Health:
    """The health after one more turn of which all attempts failed."""
    failures = health.failures + 1
    relapses = health.state == "probation" or failures >= rules.isolate_after_failures
    state: HealthState = "isolated" if relapses else "suspect"
    return Health(
        state=state,
        failures=failures,
        isolations=health.isolations + relapses,
        since_turn=turn_time.turn,
        since=turn_time.at,
        reason=reason,
    )


def isolate(health: Health, turn_time: TurnTime, reason: str) -> Health:
    """The health when a failure is one of everybody's: no second chance before the cool-down."""
    return Health(
        state="isolated",
        failures=max(health.failures, 1),
        isolations=health.isolations + 1,
        since_turn=turn_time.turn,
        since=turn_time.at,
        reason=reason,
    )


def health_after_success(health: Health, turn_time: TurnTime, fallback_index: int, error: str) -> Health:
    """The health after a turn that succeeded, with the agent's own model or, after `error`, with a fallback."""
    if fallback_index == 0:
        return HEALTHY
    if health.state == "suspect" and health.fallback_index == fallback_index:
        return health
    return Health(
        state="suspect",
        since_turn=turn_time.turn,
        since=turn_time.at,
        reason=error,
        fallback_index=fallback_index,
    )


def start_probation(health: Health, turn_time: TurnTime, reason: str) -> Health:
    """The health for one turn that decides whether it is over."""
    return health.model_copy(
        update={
            "state": "probation",
            "since_turn": turn_time.turn,
            "since": turn_time.at,
            "reason": reason,
            "fallback_index": 0,
        }
    )


def retry_reason(health: Health, rules: HealthSettings, turn_time: TurnTime) -> str | None:
    """Why one that is isolated, or speaks with a fallback model, may be tried again now; None = not yet."""
    factor = 2 ** min(max(health.isolations - 1, 0), _MAX_DOUBLINGS)
    turns = turn_time.turn - health.since_turn
    if rules.cool_down_turns is not None and turns >= rules.cool_down_turns * factor:
        return f"{turns} turns have passed"
    if rules.cool_down_seconds is None or health.since is None:
        return None
    seconds = (turn_time.at - health.since).total_seconds()
    return f"{seconds:.0f} s have passed" if seconds >= rules.cool_down_seconds * factor else None

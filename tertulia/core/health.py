"""Health of members and managers: healthy -> suspect -> isolated -> probation -> healthy.

Invariant: isolation ends only by a successful turn on probation or by an operator. Each further isolation in a row
lasts twice as long.
"""

from datetime import datetime
from typing import Annotated, Literal, Protocol

from tertulia.core.base import Record, wire_name

HealthState = Literal["healthy", "suspect", "isolated", "probation"]

_MAX_DOUBLINGS = 6
"""Doublings of the cool-down at most, so that it lasts at most 64 times the setting."""


class Health(Record):
    """Health of a member or manager, since when and why."""

    state: HealthState = "healthy"
    failures: int = 0
    """Failed turns in a row."""
    isolations: int = 0
    """Isolations in a row without recovery between them."""
    since_turn: int = 0
    """Last turn before this state began."""
    since: datetime | None = None
    reason: str = ""
    fallback_index: Annotated[int, wire_name("model")] = 0
    """Index of the agent's model to use first: 0 = its own, 1 = its first fallback."""


HEALTHY = Health()


class HealthSettings(Protocol):
    """Settings that rule isolation and cool-down."""

    @property
    def isolate_after_failures(self) -> int: ...
    @property
    def cool_down_turns(self) -> int | None: ...
    @property
    def cool_down_seconds(self) -> float | None: ...


class TurnTime(Record):
    """Time of an event, in turns and on the clock."""

    turn: int
    """Last turn taken."""
    at: datetime


def health_after_failure(health: Health, rules: HealthSettings, turn_time: TurnTime, reason: str) -> Health:
    """Return the health after a turn whose attempts all failed."""
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
    """Return the health after a failure of all members: isolated at once, whatever the number of failures."""
    return Health(
        state="isolated",
        failures=max(health.failures, 1),
        isolations=health.isolations + 1,
        since_turn=turn_time.turn,
        since=turn_time.at,
        reason=reason,
    )


def health_after_success(health: Health, turn_time: TurnTime, fallback_index: int, error: str) -> Health:
    """Return the health after a successful turn, with the agent's own model or, after `error`, with a fallback."""
    if fallback_index == 0:
        return HEALTHY
    # Unchanged, so that the cool-down counts from the first turn with this fallback.
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
    """Return the health for one turn that ends or continues the isolation."""
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
    """Return why an isolated agent, or one on a fallback model, is tried again now; None = not yet."""
    factor = 2 ** min(max(health.isolations - 1, 0), _MAX_DOUBLINGS)
    turns = turn_time.turn - health.since_turn
    if rules.cool_down_turns is not None and turns >= rules.cool_down_turns * factor:
        return f"{turns} turns have passed"
    if rules.cool_down_seconds is None or health.since is None:
        return None
    seconds = (turn_time.at - health.since).total_seconds()
    return f"{seconds:.0f} s have passed" if seconds >= rules.cool_down_seconds * factor else None

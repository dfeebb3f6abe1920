"""The plan of a benchmark run."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from tertulia.core.base import Record

ManagerType = Literal["round_robin", "dynamic"]

MANAGERS: tuple[ManagerType, ...] = ("round_robin", "dynamic")


class Plan(Record):
    """The amounts of one run. Everything but the service is measured once per manager type."""

    turns: PositiveInt = 100
    """Measured turns of a single conversation."""
    conversations: PositiveInt = 20
    """Number of concurrent conversations."""
    turns_each: PositiveInt = 30
    """Measured turns of each concurrent conversation."""
    long_turns: NonNegativeInt = 2_000
    """Turns of the long conversation; 0 = leave it out."""
    repeats: NonNegativeInt = 3
    """Repetitions of the short runs, the loop and Tertulia alternating; 0 = leave them out."""
    restarts: NonNegativeInt = 3
    """Kills of the worker during a call; 0 = leave this part out."""
    warm_up: NonNegativeInt = 10
    """Turns of each conversation before the measured ones."""
    groups: NonNegativeInt = 7
    """Number of new groups that get messages over HTTP, for each delay of the model; 0 = leave the service out."""
    messages: PositiveInt = 5
    """Measured messages to each of these groups, after the first."""
    model_delays_ms: tuple[NonNegativeInt, ...] = (0, 300)
    """Delays of the model while the service is measured, in milliseconds."""


QUICK = Plan(turns=50, conversations=8, turns_each=15, long_turns=300, repeats=1, restarts=1, groups=3)

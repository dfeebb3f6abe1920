"""How much is measured."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from tertulia.core.base import Record

ManagerType = Literal["round_robin", "dynamic"]

MANAGERS: tuple[ManagerType, ...] = ("round_robin", "dynamic")


class Plan(Record):
    """What one run of the benchmark does. All but the service is measured once for each kind of manager."""

    turns: PositiveInt = 100
    """Measured turns of a conversation that is alone."""
    conversations: PositiveInt = 20
    """How many conversations run at once."""
    turns_each: PositiveInt = 30
    """Measured turns of each of those."""
    long_turns: NonNegativeInt = 2_000
    """Turns of the conversation that shows whether length costs; 0 = leave it out."""
    repeats: NonNegativeInt = 3
    """How often the short runs are repeated, the loop and Tertulia in turn; 0 = leave them out."""
    restarts: NonNegativeInt = 3
    """How often the worker is killed in the middle of a call; 0 = leave it out."""
    warm_up: NonNegativeInt = 10
    """Turns of each conversation before the measured ones."""
    groups: NonNegativeInt = 7
    """With how many new groups is talked over HTTP, for each of the model's delays; 0 = leave the service out."""
    messages: PositiveInt = 5
    """Measured messages to each of those, beside the first."""
    model_delays_ms: tuple[NonNegativeInt, ...] = (0, 300)
    """How long the model waits before each answer while the service is measured."""


QUICK = Plan(turns=50, conversations=8, turns_each=15, long_turns=300, repeats=1, restarts=1, groups=3)

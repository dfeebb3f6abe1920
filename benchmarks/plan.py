"""How much is measured."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from groups.model import Record

ManagerType = Literal["round_robin", "dynamic"]

MANAGERS: tuple[ManagerType, ...] = ("round_robin", "dynamic")


class Plan(Record):
    """What one run of the benchmark does. Everything happens once for each kind of manager."""

    turns: PositiveInt = 100
    """Measured turns of a conversation that is alone."""
    conversations: PositiveInt = 20
    """How many conversations run at once."""
    turns_each: PositiveInt = 30
    """Measured turns of each of those."""
    long_turns: NonNegativeInt = 2_000
    """Turns of the conversation that shows whether length costs; 0 = leave it out."""
    repeats: PositiveInt = 3
    """How often the short runs are repeated, the loop and Tertulia in turn."""
    restarts: NonNegativeInt = 3
    """How often the worker is killed in the middle of a call; 0 = leave it out."""
    warm_up: NonNegativeInt = 10
    """Turns of each conversation before the measured ones."""


QUICK = Plan(turns=50, conversations=8, turns_each=15, long_turns=300, repeats=1, restarts=1)

"""The phases of a conversation as those outside are told of them: fewer than its own, and each counted."""

from typing import Literal

from pydantic import JsonValue

from tertulia.core.base import Record

PublicPhase = Literal["executing", "ready", "paused", "closed"]
"""`executing`: a round runs; `ready`: the next message sets one off; `paused`: an operator holds it, or nobody can
speak."""


class PhaseChange(Record):
    """The conversation's phase from now on, and why."""

    number: int
    """Counts the changes of this conversation's phase: 1, 2, 3…"""
    phase: PublicPhase
    round: int
    reason: str = ""
    explanation: str = ""

    def event_data(self) -> dict[str, JsonValue]:
        """What those outside are told of it."""
        return self.model_dump(exclude={"number"})

"""Published phases of a conversation: fewer than the internal ones, and numbered."""

from typing import Literal

from pydantic import JsonValue

from tertulia.core.base import Record

PublicPhase = Literal["executing", "ready", "paused", "closed"]
"""`executing`: a round runs; `ready`: the next message starts a round; `paused`: by an operator, or because no member
can speak."""


class PhaseChange(Record):
    """A change of the published phase, with its reason."""

    number: int
    """Number of the change within the conversation: 1, 2, 3…"""
    phase: PublicPhase
    round: int
    reason: str = ""
    explanation: str = ""

    def event_data(self) -> dict[str, JsonValue]:
        """Return the data of the event."""
        return self.model_dump(exclude={"number"})

"""What an activity leaves to its next attempt, with the heartbeats that tell that it is alive.

Law: the last value that was carried is part of every later heartbeat, also of those of the next attempts.
"""

from contextvars import ContextVar

from pydantic import JsonValue
from temporalio import activity


class Pulse:
    """The heartbeats of one attempt."""

    def __init__(self) -> None:
        self._details = tuple(activity.info().heartbeat_details)

    def beat(self) -> None:
        """Tell Temporal that the attempt is alive."""
        activity.heartbeat(*self._details)

    def carry(self, value: JsonValue) -> None:
        """As the function of that name."""
        self._details = (value,)
        self.beat()


pulse_of_attempt: ContextVar[Pulse] = ContextVar("pulse_of_attempt")


def carry(value: JsonValue) -> None:
    """Leave a small value to the next attempt of this activity."""
    pulse = pulse_of_attempt.get(None) or Pulse()
    pulse.carry(value)


def carried() -> JsonValue:
    """What an earlier attempt of this activity has left; None = nothing."""
    details = activity.info().heartbeat_details
    return details[0] if details else None

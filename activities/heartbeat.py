"""What an activity leaves to its next attempt, with the heartbeats that tell that it is alive.

Law: the last value that was carried is part of every later heartbeat, also of those of the next attempts.
"""

from contextvars import ContextVar

from pydantic import JsonValue
from temporalio import activity


class Heartbeater:
    """The heartbeats of one attempt."""

    def __init__(self) -> None:
        self._details = tuple(activity.info().heartbeat_details)

    def send(self) -> None:
        """Tell Temporal that the attempt is alive."""
        activity.heartbeat(*self._details)

    def save_heartbeat_details(self, value: JsonValue) -> None:
        """As the function of that name."""
        self._details = (value,)
        self.send()


current_heartbeater: ContextVar[Heartbeater] = ContextVar("current_heartbeater")


def save_heartbeat_details(value: JsonValue) -> None:
    """Leave a small value to the next attempt of this activity."""
    heartbeater = current_heartbeater.get(None) or Heartbeater()
    heartbeater.save_heartbeat_details(value)


def load_heartbeat_details() -> JsonValue:
    """What an earlier attempt of this activity has left; None = nothing."""
    details = activity.info().heartbeat_details
    return details[0] if details else None

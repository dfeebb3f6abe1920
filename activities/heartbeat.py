"""Heartbeats of activities, and the value in their details that one attempt leaves to the next.

Invariant: every heartbeat repeats the saved value, because Temporal keeps only the details of the last heartbeat.
"""

from contextvars import ContextVar

from pydantic import JsonValue
from temporalio import activity


class Heartbeater:
    """Send the heartbeats of one attempt."""

    def __init__(self) -> None:
        self._details = tuple(activity.info().heartbeat_details)

    def send(self) -> None:
        """Send a heartbeat with the saved value."""
        activity.heartbeat(*self._details)

    def save(self, value: JsonValue) -> None:
        """Send a heartbeat with a new value."""
        self._details = (value,)
        self.send()


current_heartbeater: ContextVar[Heartbeater] = ContextVar("current_heartbeater")
"""The heartbeater of the running activity, set by the worker's interceptor."""


def save_heartbeat_details(value: JsonValue) -> None:
    """Save a small value for the next attempt of this activity."""
    heartbeater = current_heartbeater.get(None) or Heartbeater()
    heartbeater.save(value)


def load_heartbeat_details() -> JsonValue:
    """Return the value saved by an earlier attempt of this activity; None = no value."""
    details = activity.info().heartbeat_details
    return details[0] if details else None

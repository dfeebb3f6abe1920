"""The operator's wish to stop: the first signal asks, the second hurries."""

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler: TypeAlias = Callable[[int, FrameType | None], object] | signal.Handlers | int | None


class StopSignals:
    """Turns SIGINT, SIGTERM and SIGHUP into two events, from `install` to `restore`. Main thread only."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self._previous: dict[signal.Signals, _Handler] = {}

    def install(self) -> None:
        """Take the signals over."""
        loop = asyncio.get_running_loop()
        for number in _STOPPING:
            self._previous.setdefault(number, signal.getsignal(number))
            loop.add_signal_handler(number, self._received)

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        loop = asyncio.get_running_loop()
        for number, previous in self._previous.items():
            loop.remove_signal_handler(number)
            signal.signal(number, previous)
        self._previous.clear()

    def _received(self) -> None:
        (self.hurry if self.asked.is_set() else self.asked).set()

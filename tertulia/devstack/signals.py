"""Signals to stop: the first asks, the second kills."""

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler: TypeAlias = Callable[[int, FrameType | None], object] | signal.Handlers | int | None


class StopSignals:
    """Turns SIGINT, SIGTERM and SIGHUP into two events, from `install` to `restore`. Main thread only."""

    def __init__(self) -> None:
        self.stop_requested = asyncio.Event()
        self.kill_requested = asyncio.Event()
        self._previous: dict[signal.Signals, _Handler] = {}

    def install(self) -> None:
        """Install the handlers."""
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            self._previous.setdefault(number, signal.getsignal(number))
            loop.add_signal_handler(number, self._handle_signal)

    def restore(self) -> None:
        """Restore the former handlers."""
        loop = asyncio.get_running_loop()
        for number, previous in self._previous.items():
            loop.remove_signal_handler(number)
            signal.signal(number, previous)
        self._previous.clear()

    def _handle_signal(self) -> None:
        (self.kill_requested if self.stop_requested.is_set() else self.stop_requested).set()

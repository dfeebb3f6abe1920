"""What the stack reports while it comes up, runs and stops, for a command line to show."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

StackEventKind: TypeAlias = Literal["started", "ready", "ended", "stopped"]


@dataclass(frozen=True)
class StackEvent:
    """Something happened to one of the stack's programs. Its text is a line for a person."""

    program: str
    """postgres, temporal, model, worker-1…, api; `stack` is all of them."""
    kind: StackEventKind
    """`ended` is unexpected, and followed by a new start; `stopped` was asked for."""
    seconds: float = 0.0
    """For `ready` and `stopped`: how long it took."""
    detail: str = ""
    """For `started` the process id, for `ended` the reason."""

    def __str__(self) -> str:
        took = f" in {self.seconds:.1f} s" if self.kind in ("ready", "stopped") else ""
        return f"{self.program} {self.kind}{took}" + (f" ({self.detail})" if self.detail else "")


EventReporter: TypeAlias = Callable[[StackEvent], None]

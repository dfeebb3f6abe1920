"""Events of the stack while it starts, runs and stops, for a command line to print."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

StackEventKind: TypeAlias = Literal["started", "ready", "ended", "stopped"]


@dataclass(frozen=True)
class StackEvent:
    """An event of one program of the stack. Its text is a line for people."""

    program: str
    """postgres, temporal, model, worker-1…, api; `stack` is all of them."""
    kind: StackEventKind
    """`ended` is unexpected and followed by a restart; `stopped` was requested."""
    seconds: float = 0.0
    """For `ready` and `stopped`: the duration."""
    detail: str = ""
    """For `started` the process id, for `ended` the reason."""

    def __str__(self) -> str:
        took = f" in {self.seconds:.1f} s" if self.kind in ("ready", "stopped") else ""
        return f"{self.program} {self.kind}{took}" + (f" ({self.detail})" if self.detail else "")


EventReporter: TypeAlias = Callable[[StackEvent], None]

"""Progress on the terminal: a line for each finished step, and a bar for the running one."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import Self

from rich import progress
from rich.console import Console

_REFRESH_PER_SECOND = 2
"""Low, because drawing takes CPU time from the measurement."""


class Step:
    """A running step."""

    def __init__(self, bar: progress.Progress, task: progress.TaskID) -> None:
        self._bar = bar
        self._task = task
        self.outcome = ""

    def update(self, turns: int) -> None:
        """Record that this many turns are done."""
        self._bar.update(self._task, completed=turns)

    def result(self, text: str) -> None:
        """Set the result of the step."""
        self.outcome = text


class Progress:
    """Context manager that shows the steps of a run.

    Args:
        console: the target. A console that is no terminal gets lines only.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = monotonic()
        self._bar = progress.Progress(
            progress.TimeElapsedColumn(),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.description}"),
            console=console,
            refresh_per_second=_REFRESH_PER_SECOND,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    @contextmanager
    def step(self, name: str, turns: int | None = None) -> Iterator[Step]:
        """Context manager: a step of this many turns."""
        task = self._bar.add_task(name, total=turns)
        step = Step(self._bar, task)
        try:
            yield step
        finally:
            self._bar.remove_task(task)
        self.print_line(f"{name}: {step.outcome}" if step.outcome else name)

    def print_line(self, text: str) -> None:
        """Print a line with the time since the start."""
        minutes, seconds = divmod(int(monotonic() - self._began), 60)
        self._console.print(f"{minutes:02}:{seconds:02}  {text}", soft_wrap=True)

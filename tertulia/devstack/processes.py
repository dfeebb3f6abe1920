"""A supervised child process: its log in a file, restarted when it dies, ended by its own process id.

Start children from the main thread: the kernel ends them with the thread that started them.
"""

import asyncio
import math
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import BinaryIO, NoReturn

from tertulia.devstack import parent_death
from tertulia.devstack.errors import StartFailed
from tertulia.devstack.events import EventReporter, StackEvent

_INITIAL_BACKOFF_SECONDS = 0.1
_MAX_BACKOFF_SECONDS = 5.0
_MAX_START_FAILURES = 4
_POLL_SECONDS = 0.02
_MAX_LOG_BYTES = 16 * 2**20
_ERROR_LOG_LINES = 15


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program and its supervision."""

    name: str
    """Names the program in reports, and its log file."""
    command: tuple[str, ...]
    """The executable and its arguments."""
    environment: Mapping[str, str]
    """The child's complete environment; nothing is inherited."""
    user: str | None = None
    """The system user to run as; None = the user who runs the stack."""
    before_start: Callable[[], None] | None = None
    """Called before every start and restart."""
    is_ready: Callable[[], Awaitable[bool]] | None = None
    """One attempt to use the program: true if it answers. Without it, a program that lives for `settle_seconds` is
    ready.
    """
    settle_seconds: float = 2.0
    """See `is_ready`; in seconds."""
    start_timeout_seconds: float = 30.0
    """Seconds until the program must be ready at its first start."""
    stop_signal: signal.Signals = signal.SIGTERM
    """The signal that asks it to end."""
    stop_timeout_seconds: float = 10.0
    """Seconds from `stop_signal` to SIGKILL."""


class SupervisedProcess:
    """Keeps one `Program` running between `start` and `stop`.

    A program that was never ready is given up after a few attempts; one that was ready is restarted without limit.
    """

    def __init__(self, program: Program, logs: Path, report: EventReporter, on_spawn: Callable[[], None]) -> None:
        self.program = program
        self._log = logs / f"{program.name}.log"
        self._log_start = 0
        self._report = report
        self._on_spawn = on_spawn
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[NoReturn] | None = None
        self._spawned = asyncio.Event()
        self._ready = asyncio.Event()
        self._became_ready = False
        self._failures = 0

    @property
    def pid(self) -> int | None:
        """The running child's process id; None while there is none."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the program and keep it running. Returns once it answers, or at once if it has no `is_ready` check.

        Raises:
            StartFailed: it kept dying, or did not answer in time.
        """
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._supervisor = asyncio.create_task(self._keep_running(), name=f"keep {self.program.name} running")
        started = self._ready if self.program.is_ready else self._spawned
        started_task = asyncio.create_task(started.wait())
        try:
            await asyncio.wait(
                {self._supervisor, started_task},
                timeout=self.program.start_timeout_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            started_task.cancel()
        if self._supervisor.done():
            self._supervisor.result()
        if not started.is_set():
            raise self._start_failure(f"did not answer within {self.program.start_timeout_seconds:g} s")

    async def wait_for_failure(self) -> None:
        """Wait until the program is given up, which an error tells: it never just returns.

        Raises:
            StartFailed: it kept dying and never was ready.
        """
        if self._supervisor is None:
            raise RuntimeError(f"{self.program.name} was not started")
        await asyncio.shield(self._supervisor)

    async def stop(self, kill_requested: asyncio.Event) -> None:
        """End the program with its stop signal, then with SIGKILL after its timeout or when `kill_requested` is set."""
        started_at = monotonic()
        if self._supervisor is not None:
            self._supervisor.cancel()
            # Its error, if it gave up, is `start`'s or `wait_for_failure`'s to raise.
            await asyncio.gather(self._supervisor, return_exceptions=True)
        if self._process is None or self._process.returncode is not None:
            return
        exit_task = asyncio.create_task(self._process.wait())
        kill_task = asyncio.create_task(kill_requested.wait())
        try:
            self._send_signal(self.program.stop_signal)
            await asyncio.wait(
                {exit_task, kill_task}, timeout=self.program.stop_timeout_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            kill_task.cancel()
            self._send_signal(signal.SIGKILL)
        await exit_task
        self._report(StackEvent(self.program.name, "stopped", monotonic() - started_at))

    async def kill(self) -> None:
        """Send SIGKILL to the child and wait until it has ended; it is restarted as after a crash."""
        if self._process is not None:
            self._send_signal(signal.SIGKILL)
            await self._process.wait()

    async def _keep_running(self) -> NoReturn:
        while True:
            await self._spawn()
            reason = await self._wait_for_exit()
            if self._failures >= _MAX_START_FAILURES and not self._ready.is_set():
                raise self._start_failure(f"{reason} {self._failures} times in a row")
            self._report(StackEvent(self.program.name, "ended", detail=reason))
            await asyncio.sleep(self._backoff())

    def _backoff(self) -> float:
        if self._became_ready and not self._failures:
            return 0
        doublings = min(max(self._failures - 1, 0), 10)
        return min(math.ldexp(_INITIAL_BACKOFF_SECONDS, doublings), _MAX_BACKOFF_SECONDS)

    async def _spawn(self) -> None:
        if self.program.before_start:
            self.program.before_start()
        with self._open_log() as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), self.program.user or ""),
                *self.program.command,
                env=self.program.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                # Ctrl-C in the terminal is for the stack alone, which then stops its programs in order.
                start_new_session=True,
            )
        self._report(StackEvent(self.program.name, "started", detail=f"pid {self._process.pid}"))
        self._on_spawn()
        self._spawned.set()

    async def _wait_for_exit(self) -> str:
        """Wait until the child ends; the reason, in words."""
        assert self._process is not None
        self._became_ready = False
        started_at = monotonic()
        exit_task = asyncio.create_task(self._process.wait())
        ready_task = asyncio.create_task(self._wait_until_ready())
        try:
            await asyncio.wait({exit_task, ready_task}, return_when=asyncio.FIRST_COMPLETED)
            if ready_task.done():
                ready_task.result()
                self._record_ready(monotonic() - started_at)
            code = await exit_task
        finally:
            ready_task.cancel()
        if code == -signal.SIGKILL:
            # Somebody's doing, and no sign that the program cannot run.
            return "was killed"
        self._failures += 1
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    async def _wait_until_ready(self) -> None:
        if self.program.is_ready is None:
            await asyncio.sleep(self.program.settle_seconds)
            return
        while True:
            if await self.program.is_ready():
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _record_ready(self, seconds: float) -> None:
        self._failures = 0
        self._became_ready = True
        self._ready.set()
        if self.program.is_ready is not None:
            self._report(StackEvent(self.program.name, "ready", seconds))

    def _send_signal(self, number: signal.Signals) -> None:
        # Not Process.send_signal: that polls, and so takes the exit code away from the event loop's own watcher.
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _open_log(self) -> BinaryIO:
        if self._log.exists() and self._log.stat().st_size > _MAX_LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        log = self._log.open("ab")
        self._log_start = log.tell()
        return log

    def _start_failure(self, reason: str) -> StartFailed:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return StartFailed(self.program.name, reason, [*lines[-_ERROR_LOG_LINES:], f"(log: {self._log})"])

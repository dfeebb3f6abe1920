"""Failpoints: places where `make chaos` and tests can suspend an activity, to kill a process at exactly that moment.

A file with a failpoint's name in the folder `TERTULIA_FAILPOINTS` arms it. The first activity that reaches the
failpoint renames the file to `NAME.hit` and waits until that file is removed.

Invariant: without `TERTULIA_FAILPOINTS` at the worker's start, failpoints do nothing.
"""

import asyncio
import os
from enum import StrEnum
from pathlib import Path

FAILPOINTS_ENV = "TERTULIA_FAILPOINTS"
_POLL_SECONDS = 0.01
_FOLDER = Path(os.environ[FAILPOINTS_ENV]) if os.environ.get(FAILPOINTS_ENV) else None


class Failpoint(StrEnum):
    """The failpoints. A suspended activity still sends heartbeats."""

    BEFORE_MODEL_CALL = "before_model_call"
    BEFORE_TURN_COMMIT = "before_turn_commit"
    AFTER_TURN_COMMIT = "after_turn_commit"
    BEFORE_CHOICE_COMMIT = "before_choice_commit"
    BEFORE_MEMBERSHIP_COMMIT = "before_membership_commit"
    AFTER_MEMBERSHIP_COMMIT = "after_membership_commit"
    BEFORE_POSTS_COMMIT = "before_posts_commit"
    BEFORE_CLOSING_COMMIT = "before_closing_commit"
    AFTER_CLOSING_COMMIT = "after_closing_commit"
    AFTER_GROUP_CHANGE_COMMIT = "after_group_change_commit"
    BEFORE_NOTIFICATION = "before_telling"


async def hold_if_armed(failpoint: Failpoint) -> None:
    """Suspend the activity if the failpoint is armed."""
    if _FOLDER is None:
        return
    hit = _FOLDER / f"{failpoint}.hit"
    try:
        (_FOLDER / failpoint).rename(hit)
    except FileNotFoundError:
        return
    while hit.exists():  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)

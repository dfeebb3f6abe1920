"""CPU time by program of the stack, its children included, and of this process."""

import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tertulia.devstack.data_folder import StackRecord
from tertulia.running_stack import STACK_FILE

CLIENT = "client"
"""This process: the plain loop, or the client that starts conversations and waits."""
PROGRAMS = ("worker", "temporal", "postgres", "model", CLIENT)


def cpu_seconds(data: Path) -> dict[str, float]:
    """Return the CPU seconds used so far by each program of the stack in folder `data`, user and system together."""
    record = StackRecord.model_validate_json((data / STACK_FILE).read_bytes())
    used: dict[str, float] = defaultdict(float)
    for program in record.processes:
        if process := program.find():
            used[program.name.partition("-")[0]] += _tree_cpu_seconds(process)
    used[CLIENT] = time.process_time()
    return used


def cpu_ms_per_turn(before: Mapping[str, float], after: Mapping[str, float], turns: int) -> dict[str, float]:
    """Return each program's CPU time between two readings, in milliseconds per turn."""
    return {name: (after[name] - before[name]) * 1_000 / turns for name in PROGRAMS}


def _tree_cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process tree. Ended children count among their parent's `children`."""
    used = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used

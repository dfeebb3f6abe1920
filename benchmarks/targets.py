"""Targets, as ratios to the plain loop: absolute times differ from machine to machine. The service's are milliseconds,
because a person waits for them.
They come from a comparison of nine systems on two shared cores, in which the plain loop took 3.0 ms a turn alone, 6.0
with a manager, and came to 400 turns a second with 20 conversations at once.
"""

from benchmarks.plan import ManagerType

MAX_TIME_RATIO: dict[ManagerType, float] = {"round_robin": 9 / 3.0, "dynamic": 16 / 6.0}
"""Time per turn: at most this multiple of the loop's."""
MIN_THROUGHPUT_RATIO: dict[ManagerType, float | None] = {"round_robin": 180 / 400, "dynamic": None}
"""Turns per second: at least this fraction of the loop's; no target for dynamic groups."""
MAX_GROWTH_RATIO = 1.1
"""Time and history per turn at the end of a long conversation against its beginning: at most this ratio."""
MAX_STORED_MB = 1.5
"""Megabytes stored for 500 turns of a round robin: at most."""
MAX_RESTART_SECONDS = 3.0
"""Seconds from a worker's SIGKILL to the next finished turn: at most."""
MAX_CREATE_MS = 50
"""Milliseconds to create an agent over HTTP: at most."""
MAX_ADDED_MS = 100
"""Milliseconds that a message to four members takes beyond the models' own time: at most."""

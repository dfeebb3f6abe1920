"""What is to be reached, as ratios to the plain loop: absolute times differ from machine to machine. The service's are
milliseconds all the same, for somebody waits for them.

They come from a comparison of nine systems on two shared cores, in which the plain loop took 3.0 ms a turn alone, 6.0
with a manager, and came to 400 turns a second with 20 conversations at once.
"""

from benchmarks.plan import ManagerType

MAX_TIME_RATIO: dict[ManagerType, float] = {"round_robin": 9 / 3.0, "dynamic": 16 / 6.0}
"""Time a turn, at most so many times the loop's."""
MIN_THROUGHPUT_RATIO: dict[ManagerType, float | None] = {"round_robin": 180 / 400, "dynamic": None}
"""Turns a second, at least this part of the loop's; for a dynamic group nothing is set."""
MAX_GROWTH_RATIO = 1.1
"""Time a turn, and history a turn, at the end of a long conversation against its beginning, at most."""
MAX_STORED_MB = 1.5
"""Megabytes stored for 500 turns of a round robin, at most."""
MAX_RESTART_SECONDS = 3.0
"""From a worker's SIGKILL to the next turn done, at most."""
MAX_CREATE_MS = 50
"""Milliseconds, over HTTP, to create an agent, at most."""
MAX_ADDED_MS = 100
"""Milliseconds that a message to four members takes beyond what the models take themselves, at most."""

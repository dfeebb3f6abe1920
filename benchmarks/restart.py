"""The interruption of a conversation whose only worker is killed during a model call."""

import asyncio
import time

from benchmarks.bench import Bench, timeout_seconds
from benchmarks.progress import Progress
from benchmarks.results import BenchmarkFailed
from tertulia.core.ids import ConversationId

MODEL_DELAY_SECONDS = 1.0
_INTO_THE_CALL_SECONDS = 0.3
_POLL_SECONDS = 0.02
_MANY_TURNS = 10_000


async def measure_restarts(bench: Bench, times: int, progress: Progress) -> list[float]:
    """Return the seconds from each SIGKILL until the interrupted turn is done by the restarted worker."""
    with progress.step(f"worker killed in mid-call, {times} times") as step:
        await bench.model.set_behaviour(delay_ms=int(MODEL_DELAY_SECONDS * 1_000))
        (conversation_id,) = await bench.start("round_robin", _MANY_TURNS)
        try:
            seconds = [await _restart(bench, conversation_id) for _ in range(times)]
        finally:
            await bench.client.conversations.handle(conversation_id).stop()
            await bench.model.reset()
        async with asyncio.timeout(timeout_seconds(0)):
            await bench.client.scope.workflow_handle(conversation_id).result()
        step.result(", ".join(f"{one:.1f} s" for one in seconds))
    return seconds


async def _restart(bench: Bench, conversation_id: ConversationId) -> float:
    # A turn of the same worker goes before, so that the conversation is in its cache, as it would be.
    before = await bench.wait_for_turns([conversation_id], await bench.turn_count([conversation_id]) + 1)
    await _until_calling(bench)
    killed_at = time.time()
    await bench.kill_worker()
    await bench.wait_for_turns([conversation_id], before + 1)
    return (await bench.turn_times(conversation_id))[before] - killed_at


async def _until_calling(bench: Bench) -> None:
    deadline = time.monotonic() + timeout_seconds(0)
    while not (await bench.model.calls()).in_flight:
        if time.monotonic() > deadline:
            raise BenchmarkFailed("nobody calls the model")
        await asyncio.sleep(_POLL_SECONDS)
    await asyncio.sleep(_INTO_THE_CALL_SECONDS)

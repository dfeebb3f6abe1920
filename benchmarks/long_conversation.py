"""The cost per turn of a long conversation against its beginning, and its stored size."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

from benchmarks.bench import Bench
from benchmarks.history import ConversationHistory, read_history
from benchmarks.plain_loop import skip_like_tertulia, skip_old_messages
from benchmarks.plan import ManagerType
from benchmarks.processes import cpu_ms_per_turn
from benchmarks.progress import Progress
from benchmarks.prompt_overlap import measure_manager_overlap, measure_member_overlap
from benchmarks.results import BenchmarkFailed, LongConversation, PromptOverlap, TurnRange
from tertulia.core.ids import ConversationId
from tertulia.core.prompt import TranscriptMessage

_FIRST = 50
_WIDTH = 100


async def measure_long_conversation(
    bench: Bench, manager: ManagerType, turns: int, progress: Progress
) -> LongConversation:
    """Run one conversation of this many turns."""
    with progress.step(f"{manager.replace('_', ' ')}, {turns:,} turns: Tertulia", turns) as step:
        storage_size, before = await bench.storage_size(), await bench.meter()
        ids = await bench.start(manager, turns)
        (status,) = await bench.wait_until_closed(ids, turns, step.update)
        after = await bench.meter()
        grown = (await bench.storage_size()).subtract(storage_size)
        turn_times = await bench.turn_times(ids[0])
        if len(turn_times) != turns:
            raise BenchmarkFailed(f"{len(turn_times)} turns were taken, and not {turns}")
        history = await read_history(bench.client, ids[0])
        members, loop, host = await _measure_prompt_overlap(bench, ids[0], manager)
        beginning, end = (_measure_range(turn_times, history, *bounds) for bounds in compared_ranges(turns))
        step.result(f"{beginning.ms_a_turn:.1f} ms a turn at the beginning, {end.ms_a_turn:.1f} ms at the end")
    return LongConversation(
        manager=manager,
        turns=turns,
        seconds=turn_times[-1] - turn_times[0],
        beginning=beginning,
        end=end,
        workflow_runs=history.runs,
        history_events=history.events,
        history_bytes=history.size,
        postgres_bytes=grown.postgres,
        temporal_bytes=grown.temporal,
        cpu_ms=cpu_ms_per_turn(before.cpu, after.cpu, turns),
        prompt_tokens=status.usage.prompt_tokens / turns,
        model_calls=(after.model_calls - before.model_calls) / turns,
        members_prompts=members,
        loop_prompts=loop,
        manager_prompts=host,
    )


def compared_ranges(turns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the compared ranges of turns: 50 to 150 and the last 100, or fewer of a shorter conversation."""
    first, width = min(_FIRST, turns // 8), min(_WIDTH, turns // 3)
    if width < 1:
        raise BenchmarkFailed("a long conversation has more than two turns")
    return (first + 1, first + width), (turns - width + 1, turns)


def _measure_range(turn_times: Sequence[float], history: ConversationHistory, first: int, last: int) -> TurnRange:
    gaps = [after - before for before, after in pairwise(turn_times[max(first - 2, 0) : last])]
    return TurnRange(
        from_turn=first,
        to_turn=last,
        ms_a_turn=median(gaps) * 1_000,
        mean_ms_a_turn=fmean(gaps) * 1_000,
        history_events=history.events_per_turn(first, last),
        history_bytes=history.bytes_per_turn(first, last),
    )


async def _measure_prompt_overlap(
    bench: Bench, conversation_id: ConversationId, manager: ManagerType
) -> tuple[PromptOverlap, PromptOverlap, PromptOverlap | None]:
    transcript = [
        TranscriptMessage(sender_id=message.sender_id, sender=message.sender, text=message.text)
        async for message in bench.client.conversations.handle(conversation_id).transcript()
    ]
    host = measure_manager_overlap(transcript, skip_like_tertulia) if manager == "dynamic" else None
    return (
        measure_member_overlap(transcript, skip_like_tertulia),
        measure_member_overlap(transcript, skip_old_messages),
        host,
    )

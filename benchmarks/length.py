"""Whether a long conversation costs more per turn than a short one, and what it leaves behind."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

from benchmarks.bench import Bench
from benchmarks.history import HistoryOfRuns, read_history
from benchmarks.loop import last_messages, same_as_ours
from benchmarks.plan import ManagerType
from benchmarks.processes import cpu_ms_a_turn
from benchmarks.progress import Progress
from benchmarks.results import BenchmarkFailed, Length, Sameness, Stretch
from benchmarks.sameness import manager_sameness, members_sameness
from tertulia.core.ids import ConversationId
from tertulia.core.prompt import TranscriptMessage

_FIRST = 50
_WIDTH = 100


async def measure_length(bench: Bench, manager: ManagerType, turns: int, progress: Progress) -> Length:
    """Hold one conversation of so many turns."""
    with progress.step(f"{manager.replace('_', ' ')}, {turns:,} turns: Tertulia", turns) as step:
        stored, before = await bench.stored(), await bench.meter()
        ids = await bench.start(manager, turns)
        (status,) = await bench.until_closed(ids, turns, step.at)
        after = await bench.meter()
        grown = (await bench.stored()).minus(stored)
        stamps = await bench.stamps(ids[0])
        if len(stamps) != turns:
            raise BenchmarkFailed(f"{len(stamps)} turns were taken, and not {turns}")
        history = await read_history(bench.client, ids[0])
        members, loop, host = await _sameness(bench, ids[0], manager)
        beginning, end = (_stretch(stamps, history, *bounds) for bounds in stretches(turns))
        step.result(f"{beginning.ms_a_turn:.1f} ms a turn at the beginning, {end.ms_a_turn:.1f} ms at the end")
    return Length(
        manager=manager,
        turns=turns,
        seconds=stamps[-1] - stamps[0],
        beginning=beginning,
        end=end,
        workflow_runs=history.runs,
        history_events=history.events,
        history_bytes=history.size,
        postgres_bytes=grown.postgres,
        temporal_bytes=grown.temporal,
        cpu_ms=cpu_ms_a_turn(before.cpu, after.cpu, turns),
        prompt_tokens=status.usage.prompt_tokens / turns,
        model_calls=(after.model_calls - before.model_calls) / turns,
        members_prompts=members,
        loop_prompts=loop,
        manager_prompts=host,
    )


def stretches(turns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and the last turn of the beginning and of the end that are compared: 50 to 150 and the last 100, or
    less of a shorter conversation."""
    first, width = min(_FIRST, turns // 8), min(_WIDTH, turns // 3)
    if width < 1:
        raise BenchmarkFailed("a long conversation has more than two turns")
    return (first + 1, first + width), (turns - width + 1, turns)


def _stretch(stamps: Sequence[float], history: HistoryOfRuns, first: int, last: int) -> Stretch:
    gaps = [after - before for before, after in pairwise(stamps[max(first - 2, 0) : last])]
    return Stretch(
        from_turn=first,
        to_turn=last,
        ms_a_turn=median(gaps) * 1_000,
        mean_ms_a_turn=fmean(gaps) * 1_000,
        history_events=history.events_a_turn(first, last),
        history_bytes=history.bytes_a_turn(first, last),
    )


async def _sameness(
    bench: Bench, conversation_id: ConversationId, manager: ManagerType
) -> tuple[Sameness, Sameness, Sameness | None]:
    transcript = [
        TranscriptMessage(sender_id=message.sender_id, sender=message.sender, text=message.text)
        async for message in bench.client.conversations.handle(conversation_id).transcript()
    ]
    host = manager_sameness(transcript, same_as_ours) if manager == "dynamic" else None
    return members_sameness(transcript, same_as_ours), members_sameness(transcript, last_messages), host

"""How fast conversations go: the plain loop and Tertulia in turn, so that what disturbs one disturbs the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bench import Bench, Meter
from benchmarks.loop import View, last_messages, same_as_ours, talk_at_once
from benchmarks.plan import ManagerType
from benchmarks.processes import cpu_ms_a_turn
from benchmarks.progress import Progress
from benchmarks.results import BenchmarkFailed, Repetition, Run


@dataclass(frozen=True)
class Load:
    """What one run consists of."""

    manager: ManagerType
    conversations: int
    turns: int
    """Of each conversation, measured."""
    warm_up: int
    """Of each conversation, before those."""

    @property
    def total(self) -> int:
        """Turns of all conversations, the warm-up included."""
        return self.conversations * (self.turns + self.warm_up)

    @property
    def name(self) -> str:
        """In words."""
        together = "alone" if self.conversations == 1 else f"{self.conversations} at once"
        return f"{self.manager.replace('_', ' ')}, {together}"


async def repetition(bench: Bench, load: Load, progress: Progress) -> Repetition:
    """Measure each side once."""
    loop = await measure_loop(bench, load, last_messages, progress, "plain loop")
    same = None
    if load.conversations == 1:
        same = await measure_loop(bench, load, same_as_ours, progress, "plain loop, same prompts")
    return Repetition(loop=loop, same_prompts=same, ours=await measure_ours(bench, load, progress))


async def measure_loop(bench: Bench, load: Load, view: View, progress: Progress, name: str) -> Run:
    """Let the plain loop do it."""
    with progress.step(f"{load.name}: {name}", load.total) as step:
        before = await bench.meter()
        turns = load.turns + load.warm_up
        talks = await talk_at_once(bench.openai, load.manager, view, conversations=load.conversations, turns=turns)
        after = await bench.meter()
        run = _run(
            load,
            [talk.stamps for talk in talks],
            (before, after, load.total),
            sum(talk.prompt_tokens for talk in talks),
        )
        step.result(_speed(run, load))
    return run


async def measure_ours(bench: Bench, load: Load, progress: Progress) -> Run:
    """Let Tertulia do it."""
    with progress.step(f"{load.name}: Tertulia", load.total) as step:
        turns = load.turns + load.warm_up
        ids = await bench.start(load.manager, turns, conversations=load.conversations)
        warm = await bench.until_taken(ids, load.warm_up * load.conversations)
        before = await bench.meter()
        statuses = await bench.until_closed(ids, turns, step.at)
        after = await bench.meter()
        run = _run(
            load,
            [await bench.stamps(one) for one in ids],
            (before, after, load.total - warm),
            sum(status.usage.prompt_tokens for status in statuses),
        )
        step.result(_speed(run, load))
    return run


def _run(load: Load, stamps: Sequence[Sequence[float]], metered: tuple[Meter, Meter, int], prompt_tokens: int) -> Run:
    """Make numbers of what was seen; `metered` are two readings and the turns taken between them."""
    if any(len(one) != load.turns + load.warm_up for one in stamps):
        raise BenchmarkFailed(f"{load.name}: not every turn was taken")
    every = sorted(stamp for one in stamps for stamp in one)
    # The first measured turn begins when the last one of the warm-up ends.
    measured = every[max(load.conversations * load.warm_up, 1) - 1 :]
    seconds_a_turn = (measured[-1] - measured[0]) / (len(measured) - 1)
    before, after, turns = metered
    return Run(
        ms_a_turn=seconds_a_turn * 1_000,
        turns_per_second=1 / seconds_a_turn,
        cpu_ms=cpu_ms_a_turn(before.cpu, after.cpu, turns),
        prompt_tokens=prompt_tokens / load.total,
        model_calls=(after.model_calls - before.model_calls) / turns,
    )


def _speed(run: Run, load: Load) -> str:
    if load.conversations == 1:
        return f"{run.ms_a_turn:.1f} ms a turn"
    return f"{run.turns_per_second:.0f} turns a second"

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


@dataclass(frozen=True)
class Metered:
    """What the meter showed in one run."""

    begun: Meter
    warmed_up: Meter
    ended: Meter
    turns: int
    """How many were taken after the warm-up."""


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
        begun = await bench.meter()
        turns = load.turns + load.warm_up
        talks = await talk_at_once(bench.openai, load.manager, view, conversations=load.conversations, turns=turns)
        after = await bench.meter()
        run = _run(
            load,
            [talk.stamps for talk in talks],
            Metered(begun, begun, after, load.total),
            sum(talk.prompt_tokens for talk in talks),
        )
        step.result(_speed(run, load))
    return run


async def measure_ours(bench: Bench, load: Load, progress: Progress) -> Run:
    """Let Tertulia do it."""
    with progress.step(f"{load.name}: Tertulia", load.total) as step:
        turns = load.turns + load.warm_up
        begun = await bench.meter()
        ids = await bench.start(load.manager, turns, conversations=load.conversations)
        warm = await bench.until_taken(ids, load.warm_up * load.conversations)
        warmed_up = await bench.meter()
        statuses = await bench.until_closed(ids, turns, step.at)
        after = await bench.meter()
        run = _run(
            load,
            [await bench.stamps(one) for one in ids],
            Metered(begun, warmed_up, after, max(load.total - warm, 1)),
            sum(status.usage.prompt_tokens for status in statuses),
        )
        step.result(_speed(run, load))
    return run


def _run(load: Load, stamps: Sequence[Sequence[float]], metered: Metered, prompt_tokens: int) -> Run:
    """Make numbers of what was seen."""
    if any(len(one) != load.turns + load.warm_up for one in stamps):
        raise BenchmarkFailed(f"{load.name}: not every turn was taken")
    every = sorted(stamp for one in stamps for stamp in one)
    # The first measured turn begins when the last one of the warm-up ends.
    measured = every[max(load.conversations * load.warm_up, 1) - 1 :]
    seconds_a_turn = (measured[-1] - measured[0]) / (len(measured) - 1)
    return Run(
        ms_a_turn=seconds_a_turn * 1_000,
        turns_per_second=1 / seconds_a_turn,
        cpu_ms=cpu_ms_a_turn(metered.warmed_up.cpu, metered.ended.cpu, metered.turns),
        prompt_tokens=prompt_tokens / load.total,
        # Of the warm-up as well: turns go on while the meter is read, and a few of few would be many.
        model_calls=(metered.ended.model_calls - metered.begun.model_calls) / load.total,
    )


def _speed(run: Run, load: Load) -> str:
    if load.conversations == 1:
        return f"{run.ms_a_turn:.1f} ms a turn"
    return f"{run.turns_per_second:.0f} turns a second"

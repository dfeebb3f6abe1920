"""The speed of conversations: the plain loop and Tertulia alternating, so that a disturbance affects both."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bench import Bench, Meter
from benchmarks.plain_loop import ContextRule, run_conversations, skip_like_tertulia, skip_old_messages
from benchmarks.plan import ManagerType
from benchmarks.processes import cpu_ms_per_turn
from benchmarks.progress import Progress
from benchmarks.results import BenchmarkFailed, Repetition, Run


@dataclass(frozen=True)
class Load:
    """The amounts of one run."""

    manager: ManagerType
    conversations: int
    turns: int
    """Measured turns per conversation."""
    warm_up: int
    """Turns per conversation before the measured ones."""

    @property
    def total(self) -> int:
        """Turns of all conversations, including the warm-up."""
        return self.conversations * (self.turns + self.warm_up)

    @property
    def name(self) -> str:
        """A name for people."""
        together = "alone" if self.conversations == 1 else f"{self.conversations} at once"
        return f"{self.manager.replace('_', ' ')}, {together}"


@dataclass(frozen=True)
class UsageReadings:
    """Resource readings of one run."""

    started: Meter
    warmed_up: Meter
    ended: Meter
    turns: int
    """Turns after the warm-up."""


async def measure_repetition(bench: Bench, load: Load, progress: Progress) -> Repetition:
    """Measure each side once."""
    loop = await measure_loop(bench, load, skip_old_messages, progress, "plain loop")
    same = None
    if load.conversations == 1:
        same = await measure_loop(bench, load, skip_like_tertulia, progress, "plain loop, same prompts")
    return Repetition(loop=loop, same_prompts=same, ours=await measure_tertulia(bench, load, progress))


async def measure_loop(bench: Bench, load: Load, context_rule: ContextRule, progress: Progress, name: str) -> Run:
    """Measure the plain loop."""
    with progress.step(f"{load.name}: {name}", load.total) as step:
        started = await bench.meter()
        turns = load.turns + load.warm_up
        talks = await run_conversations(
            bench.openai, load.manager, context_rule, conversations=load.conversations, turns=turns
        )
        after = await bench.meter()
        run = _compute_run(
            load,
            [talk.turn_times for talk in talks],
            UsageReadings(started, started, after, load.total),
            sum(talk.prompt_tokens for talk in talks),
        )
        step.result(_format_speed(run, load))
    return run


async def measure_tertulia(bench: Bench, load: Load, progress: Progress) -> Run:
    """Measure Tertulia."""
    with progress.step(f"{load.name}: Tertulia", load.total) as step:
        turns = load.turns + load.warm_up
        started = await bench.meter()
        ids = await bench.start(load.manager, turns, conversations=load.conversations)
        warm = await bench.wait_for_turns(ids, load.warm_up * load.conversations)
        warmed_up = await bench.meter()
        statuses = await bench.wait_until_closed(ids, turns, step.update)
        after = await bench.meter()
        run = _compute_run(
            load,
            [await bench.turn_times(one) for one in ids],
            UsageReadings(started, warmed_up, after, max(load.total - warm, 1)),
            sum(status.usage.prompt_tokens for status in statuses),
        )
        step.result(_format_speed(run, load))
    return run


def _compute_run(
    load: Load, turn_times: Sequence[Sequence[float]], usage_readings: UsageReadings, prompt_tokens: int
) -> Run:
    """Make numbers of what was seen."""
    if any(len(one) != load.turns + load.warm_up for one in turn_times):
        raise BenchmarkFailed(f"{load.name}: not every turn was taken")
    turn_ends = sorted(stamp for one in turn_times for stamp in one)
    # The first measured turn begins when the last one of the warm-up ends.
    measured = turn_ends[max(load.conversations * load.warm_up, 1) - 1 :]
    seconds_per_turn = (measured[-1] - measured[0]) / (len(measured) - 1)
    return Run(
        ms_a_turn=seconds_per_turn * 1_000,
        turns_per_second=1 / seconds_per_turn,
        cpu_ms=cpu_ms_per_turn(usage_readings.warmed_up.cpu, usage_readings.ended.cpu, usage_readings.turns),
        prompt_tokens=prompt_tokens / load.total,
        # Of the warm-up as well: turns go on while the meter is read, and a few of few would be many.
        model_calls=(usage_readings.ended.model_calls - usage_readings.started.model_calls) / load.total,
    )


def _format_speed(run: Run, load: Load) -> str:
    if load.conversations == 1:
        return f"{run.ms_a_turn:.1f} ms a turn"
    return f"{run.turns_per_second:.0f} turns a second"

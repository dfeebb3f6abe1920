"""Order of the measurements: short runs of both sides alternating, long conversations, the service, restarts."""

from collections import defaultdict
from time import monotonic

from benchmarks.bench import Bench, open_bench
from benchmarks.long_conversation import measure_long_conversation
from benchmarks.machine import describe_machine
from benchmarks.plan import MANAGERS, Plan
from benchmarks.progress import Progress
from benchmarks.restart import measure_restarts
from benchmarks.results import Repetition, Report, Scenario
from benchmarks.service import measure_service
from benchmarks.speed import Load, measure_repetition


async def measure(plan: Plan, progress: Progress) -> Report:
    """Run the plan.

    Raises:
        BenchmarkFailed: something did not run as planned; no number of this run is valid.
    """
    started_at = monotonic()
    async with open_bench() as bench:
        machine = await describe_machine(bench)
        progress.print_line("the stack is up")
        scenarios = await _measure_scenarios(bench, plan, progress)
        lengths = [
            await measure_long_conversation(bench, manager, plan.long_turns, progress)
            for manager in MANAGERS
            if plan.long_turns
        ]
        service = await measure_service(bench, plan, progress) if plan.groups else None
        restarts = await measure_restarts(bench, plan.restarts, progress) if plan.restarts else []
        progress.print_line("stopping the stack")
    return Report(
        plan=plan,
        machine=machine,
        scenarios=scenarios,
        lengths=tuple(lengths),
        restart_seconds=tuple(restarts),
        seconds=monotonic() - started_at,
        service=service,
    )


async def _measure_scenarios(bench: Bench, plan: Plan, progress: Progress) -> tuple[Scenario, ...]:
    loads = [
        Load(manager, conversations, turns, plan.warm_up)
        for conversations, turns in ((1, plan.turns), (plan.conversations, plan.turns_each))
        for manager in MANAGERS
    ]
    done: dict[Load, list[Repetition]] = defaultdict(list)
    if not plan.repeats:
        return ()
    await _warm_up(bench, plan.warm_up or 1, progress)
    for number in range(1, plan.repeats + 1):
        progress.print_line(f"repetition {number} of {plan.repeats}")
        for load in loads:
            done[load].append(await measure_repetition(bench, load, progress))
    return tuple(
        Scenario(manager=load.manager, conversations=load.conversations, repetitions=tuple(repetitions))
        for load, repetitions in done.items()
    )


async def _warm_up(bench: Bench, turns: int, progress: Progress) -> None:
    """Warm up connections, prepared statements and caches, so that no first call is measured."""
    for manager in MANAGERS:
        ids = await bench.start(manager, turns)
        await bench.wait_until_closed(ids, turns, lambda turn_count: None)
    progress.print_line("warm")

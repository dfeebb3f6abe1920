"""The report as tables: each number beside its comparison and its target."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks import targets
from benchmarks.processes import CLIENT
from benchmarks.restart import MODEL_DELAY_SECONDS
from benchmarks.results import (
    REPORTED_TURNS,
    Exchange,
    LongConversation,
    Report,
    Run,
    Scenario,
    Service,
    median_added_ms,
    median_of,
    paired_ratios,
)

_BYTES_PER_MB = 1_000_000
_EMPTY_CELL = "–"
_TERTULIA_PROGRAMS = ("worker", "temporal", "postgres")


def print_report(console: Console, report: Report) -> None:
    """Print everything that was measured."""
    console.print()
    for line in _header(report):
        console.print(line, soft_wrap=True)
    for table in _tables(report):
        console.print()
        console.print(table)


def _header(report: Report) -> Iterator[str]:
    machine, plan = report.machine, report.plan
    yield (
        f"{machine.system}, {machine.cores} cores, {machine.memory_gb:.0f} GB, load {machine.load:.1f} at the start; "
        f"Python {machine.python}, temporalio {machine.temporalio}, Temporal {machine.temporal}, "
        f"Postgres {machine.postgres}, openai {machine.openai}"
    )
    yield (
        f"Four members, prompts of at most 20 messages, a model that answers at once unless told otherwise. Shown: "
        f"medians, of {plan.repeats} runs of each side, in turn; {report.seconds / 60:.1f} minutes in all."
    )
    yield "Only the ratios mean anything: both sides share these cores with whatever else runs on them."


def _tables(report: Report) -> Iterator[Table]:
    if report.scenarios:
        yield _speed_table(report.scenarios)
        yield _cpu_table(report.scenarios)
    if report.lengths:
        yield _long_conversation_table(report.lengths)
        yield _storage_table(report.lengths)
        yield _prompt_table(report.scenarios, report.lengths)
    if report.service:
        yield _service_table(report.service)
    if report.restart_seconds:
        yield _restart_table(report.restart_seconds)


def _speed_table(scenarios: Sequence[Scenario]) -> Table:
    table = _new_table("Speed", "", "plain loop", "Tertulia", "ratio", "of each repetition", "to reach")
    for scenario in scenarios:
        if scenario.conversations == 1:
            name = f"ms a turn, alone, {_manager_name(scenario)}"
            _add_speed(table, name, scenario, _ms_per_turn, _format_maximum(targets.MAX_TIME_RATIO[scenario.manager]))
            _add_speed(
                table, "  the loop with the same prompts", scenario, _ms_per_turn, _EMPTY_CELL, same_prompts=True
            )
        else:
            name = f"turns a second, {scenario.conversations} at once, {_manager_name(scenario)}"
            least = targets.MIN_THROUGHPUT_RATIO[scenario.manager]
            _add_speed(table, name, scenario, _turns_per_second, f"≥ {least:.2f}x" if least else _EMPTY_CELL)
    return table


def _add_speed(
    table: Table,
    name: str,
    scenario: Scenario,
    metric: Callable[[Run], float],
    target: str,
    *,
    same_prompts: bool = False,
) -> None:
    loops = [one.same_prompts if same_prompts else one.loop for one in scenario.repetitions]
    loop = median_of([one for one in loops if one], metric)
    ours = median_of([one.ours for one in scenario.repetitions], metric)
    ratios = paired_ratios(scenario, metric, same_prompts=same_prompts)
    each = " ".join(f"{ratio:.2f}" for ratio in ratios)
    table.add_row(name, f"{loop:.1f}", f"{ours:.1f}", f"{median(ratios):.2f}x", each, target)


def _cpu_table(scenarios: Sequence[Scenario]) -> Table:
    columns = [f"{_manager_name(one)}, {_format_concurrency(one)}" for one in scenarios]
    table = _new_table("CPU milliseconds a turn", "", *columns)

    def add(name: str, metric: Callable[[Run], float], *, loop: bool = False) -> None:
        sides = ([one.loop if loop else one.ours for one in scenario.repetitions] for scenario in scenarios)
        table.add_row(name, *(f"{median_of(runs, metric):.1f}" for runs in sides))

    add("plain loop", partial(_cpu_of, CLIENT), loop=True)
    add("  its model", partial(_cpu_of, "model"), loop=True)
    for program in _TERTULIA_PROGRAMS:
        add(f"Tertulia: {program}", partial(_cpu_of, program))
    add("  these three", _tertulia_cpu)
    add("  its model", partial(_cpu_of, "model"))
    return table


def _long_conversation_table(lengths: Sequence[LongConversation]) -> Table:
    table = _new_table("One long conversation", "", "at the beginning", "at the end", "ratio", "to reach")
    target = _format_maximum(targets.MAX_GROWTH_RATIO)
    for one in lengths:
        beginning, end = one.beginning, one.end
        table.add_row(
            f"{_manager_name(one)}, {one.turns:,} turns",
            f"turns {beginning.from_turn}-{beginning.to_turn}",
            f"turns {end.from_turn}-{end.to_turn}",
            "",
            "",
        )
        for name, before, after, digits in (
            ("  ms a turn (median)", beginning.ms_a_turn, end.ms_a_turn, 1),
            ("  ms a turn (mean)", beginning.mean_ms_a_turn, end.mean_ms_a_turn, 1),
            ("  history events a turn", beginning.history_events, end.history_events, 2),
            ("  history bytes a turn", beginning.history_bytes, end.history_bytes, 0),
        ):
            ratio = f"{after / before:.2f}x"
            table.add_row(name, f"{before:,.{digits}f}", f"{after:,.{digits}f}", ratio, target)
    return table


def _storage_table(lengths: Sequence[LongConversation]) -> Table:
    table = _new_table("Stored by a long conversation", "", *map(_manager_name, lengths), "to reach")
    rows: tuple[tuple[str, Callable[[LongConversation], float]], ...] = (
        ("Postgres, bytes a turn", lambda one: one.postgres_bytes / one.turns),
        ("Temporal's history, bytes a turn", lambda one: one.history_bytes / one.turns),
        ("Temporal's database, bytes a turn", lambda one: one.temporal_bytes / one.turns),
        ("workflow runs (continued as new)", lambda one: one.workflow_runs),
    )
    for name, metric in rows:
        table.add_row(name, *(f"{metric(one):,.0f}" for one in lengths), "")
    target = f"≤ {targets.MAX_STORED_MB} MB (round robin)"
    for name, database_field in (
        ("Postgres and the history", "history_bytes"),
        ("Postgres and the database", "temporal_bytes"),
    ):
        shown = (
            f"{(one.postgres_bytes + getattr(one, database_field)) / one.turns * REPORTED_TURNS / _BYTES_PER_MB:.2f} MB"
            for one in lengths
        )
        table.add_row(f"{name}, at {REPORTED_TURNS} turns", *shown, target)
    return table


def _prompt_table(scenarios: Sequence[Scenario], lengths: Sequence[LongConversation]) -> Table:
    table = _new_table("Prompts", "", "plain loop", "Tertulia")
    for scenario in (one for one in scenarios if one.conversations == 1):
        for name, metric in (("prompt tokens", _prompt_tokens), ("model calls", _model_calls)):
            loop, ours = (
                median_of([getattr(one, side) for one in scenario.repetitions], metric) for side in ("loop", "ours")
            )
            table.add_row(f"{name} a turn, {_manager_name(scenario)}", f"{loop:.1f}", f"{ours:.1f}")
    for one in lengths:
        for role, before, ours_overlap in (
            ("member's", one.loop_prompts, one.members_prompts),
            ("manager's", None, one.manager_prompts),
        ):
            if ours_overlap:
                loop_share = f"{before.median:.0%} (mean {before.mean:.0%})" if before else _EMPTY_CELL
                name = f"front of a {role} prompt as in the one before, {_manager_name(one)}"
                table.add_row(name, loop_share, f"{ours_overlap.median:.0%} (mean {ours_overlap.mean:.0%})")
    return table


def _service_table(service: Service) -> Table:
    table = _new_table(
        "The service, over HTTP, in milliseconds", "", "plain loop", "Tertulia", "ratio", "added", "to reach"
    )
    agents = service.agents_ms
    least, most = f"{min(agents):.1f}", f"{max(agents):.1f}"
    name = f"an agent is created (median of {len(agents)}, from {least} to {most})"
    table.add_row(name, _EMPTY_CELL, f"{median(agents):.1f}", _EMPTY_CELL, _EMPTY_CELL, f"< {targets.MAX_CREATE_MS}")
    for message_run in service.talks:
        answers = f"models answer in {message_run.delay_ms} ms"
        _add_exchanges(table, f"first message to {service.members} members, {answers}", message_run.first)
        _add_exchanges(table, f"  further messages, {answers}", message_run.following)
    return table


def _add_exchanges(table: Table, name: str, exchanges: Sequence[Exchange]) -> None:
    loop = median(one.loop_ms for one in exchanges)
    ours = median(one.ours_ms for one in exchanges)
    ratio = median(one.ours_ms / one.loop_ms for one in exchanges)
    added = f"{median_added_ms(exchanges):.1f}"
    table.add_row(name, f"{loop:.1f}", f"{ours:.1f}", f"{ratio:.2f}x", added, f"< {targets.MAX_ADDED_MS} added")


def _restart_table(seconds: Sequence[float]) -> Table:
    table = _new_table("The only worker killed in mid-call", "", "median", "each", "to reach")
    each = " ".join(f"{one:.1f}" for one in seconds)
    name = f"seconds until the next turn is done (of them {MODEL_DELAY_SECONDS:g} for the model)"
    table.add_row(name, f"{median(seconds):.1f}", each, f"≤ {targets.MAX_RESTART_SECONDS:g}")
    return table


def _new_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    return table


def _manager_name(one: Scenario | LongConversation) -> str:
    return one.manager.replace("_", " ")


def _format_concurrency(scenario: Scenario) -> str:
    return "alone" if scenario.conversations == 1 else f"{scenario.conversations} at once"


def _format_maximum(ratio: float) -> str:
    return f"≤ {ratio:.1f}x"


def _ms_per_turn(run: Run) -> float:
    return run.ms_a_turn


def _turns_per_second(run: Run) -> float:
    return run.turns_per_second


def _prompt_tokens(run: Run) -> float:
    return run.prompt_tokens


def _model_calls(run: Run) -> float:
    return run.model_calls


def _cpu_of(program: str, run: Run) -> float:
    return run.cpu_ms[program]


def _tertulia_cpu(run: Run) -> float:
    return sum(run.cpu_ms[program] for program in _TERTULIA_PROGRAMS)

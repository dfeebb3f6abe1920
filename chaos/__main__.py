"""`python -m chaos matrix` and `python -m chaos soak`: run and print; the exit code tells success from failure."""

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from itertools import product
from pathlib import Path
from time import monotonic
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from chaos.faults import FAULTS
from chaos.injection_points import INJECTION_POINTS
from chaos.killable_stack import open_killable_stack
from chaos.matrix import Cell, run_baseline, run_cells
from chaos.report import print_matrix, write_matrix, write_soak
from chaos.soak import SoakPlan, soak
from tertulia.devstack.errors import StackError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

T = TypeVar("T")


@app.command()
def matrix(
    fault: Annotated[list[str] | None, typer.Option(help="Only faults whose name holds this; can be repeated.")] = None,
    moment: Annotated[list[str] | None, typer.Option(help="Only moments whose name holds this.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the cells here.")] = None,
    write: Annotated[bool, typer.Option(help="Rewrite docs/reliability.md after a run of all cells.")] = True,
) -> None:
    """Run every fault at every point of a scripted conversation, and compare it with an undisturbed one."""
    plan = [
        (one, other)
        for other, one in product(INJECTION_POINTS, FAULTS)
        if _matches_filter(one, fault) and _matches_filter(other, moment)
    ]
    if not plan:
        raise typer.BadParameter(f"no such cell; faults: {', '.join(FAULTS)}; moments: {', '.join(INJECTION_POINTS)}")
    started_at = monotonic()
    cells = _run(_matrix(plan))
    print_matrix(Console(width=220), cells)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(cell) for cell in cells], indent=2) + "\n", encoding="utf-8")
    if write and len(plan) == len(INJECTION_POINTS) * len(FAULTS):
        write_matrix(cells, (monotonic() - started_at) / 60)
    raise typer.Exit(0 if all(cell.passed for cell in cells) else 1)


async def _matrix(plan: list[tuple[str, str]]) -> list[Cell]:
    cells = []
    with _progress() as progress:
        task = progress.add_task("the undisturbed run", total=len(plan))
        async with open_killable_stack() as killable:
            baseline = await run_baseline(killable)
            async for cell in run_cells(killable, plan, baseline):
                cells.append(cell)
                progress.advance(task)
                done = "ok" if cell.passed else f"WRONG: {cell.wrong[0][:200]}"
                seconds = f"{cell.recovery_seconds:.1f} s" if cell.recovery_seconds is not None else "–"
                progress.console.print(f"{cell.moment} · {cell.fault}: {done}, {seconds}", soft_wrap=True)
                following = plan[len(cells)] if len(cells) < len(plan) else ("", "the end")
                progress.update(task, description=" · ".join(reversed(following)))
    return cells


@app.command("soak")
def soak_command(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long faults go on.")] = 30,
    conversations: Annotated[int, typer.Option(min=1, help="How many at once.")] = 20,
    every: Annotated[float, typer.Option(min=1, help="Seconds from one fault to the next.")] = 20,
    seed: Annotated[int, typer.Option(help="Which faults, in which order.")] = 1,
    write: Annotated[bool, typer.Option(help="Put the result into docs/reliability.md.")] = True,
) -> None:
    """Run many conversations for a long time, with a fault at regular intervals."""
    plan = SoakPlan(minutes=minutes, conversations=conversations, every=every, seed=seed)
    with _progress() as progress:
        task = progress.add_task("faults", total=plan.faults)

        def report_progress(line: str) -> None:
            progress.console.print(line, soft_wrap=True)
            progress.advance(task)

        outcome = _run(soak(plan, report_progress))
    for line in outcome.lines():
        print(line)
    if write:
        write_soak(outcome.lines())
    raise typer.Exit(0 if not outcome.wrong else 1)


def _matches_filter(name: str, filters: list[str] | None) -> bool:
    return not filters or any(part.casefold() in name.casefold() for part in filters)


def _progress() -> Progress:
    columns = (
        TimeElapsedColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _run(work: Coroutine[object, object, T]) -> T:
    """Run the coroutine; Ctrl-C and SIGTERM end everything that it started."""

    async def stoppable() -> T:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    try:
        return asyncio.run(stoppable())
    except StackError as error:
        print(f"chaos: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None


if __name__ == "__main__":
    app(prog_name="python -m chaos")

"""`python -m benchmarks`: measure and print the results."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.plan import QUICK, Plan
from benchmarks.progress import Progress
from benchmarks.results import BenchmarkFailed, Report
from benchmarks.run import measure
from benchmarks.tables import print_report
from tertulia.core.errors import TertuliaError
from tertulia.devstack.errors import StackError

_PIPE_WIDTH = 140

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="A small version, of a minute or two.")] = False,
    turns: Annotated[int | None, typer.Option(min=1, help="Measured turns of a conversation alone.")] = None,
    conversations: Annotated[int | None, typer.Option(min=2, help="How many conversations at once.")] = None,
    turns_each: Annotated[int | None, typer.Option(min=1, help="Measured turns of each of those.")] = None,
    long_turns: Annotated[int | None, typer.Option(min=0, help="Turns of the long conversation; 0 = none.")] = None,
    repeats: Annotated[int | None, typer.Option(min=0, help="Repetitions of the short runs; 0 = none.")] = None,
    restarts: Annotated[int | None, typer.Option(min=0, help="How often the worker is killed.")] = None,
    groups: Annotated[int | None, typer.Option(min=0, help="Groups talked with over HTTP; 0 = none.")] = None,
    messages: Annotated[int | None, typer.Option(min=1, help="Measured messages to each of those.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers to this file.")] = None,
) -> None:
    """Measure the cost of a turn, against a plain loop in the same run.

    Everything runs on an embedded stack of its own, in a temporary folder and on free ports, with the offline model.
    """
    given = {
        "turns": turns,
        "conversations": conversations,
        "turns_each": turns_each,
        "long_turns": long_turns,
        "repeats": repeats,
        "restarts": restarts,
        "groups": groups,
        "messages": messages,
    }
    plan = (QUICK if quick else Plan()).model_copy(
        update={key: value for key, value in given.items() if value is not None}
    )
    try:
        with Progress(_console(stderr=True)) as progress:
            report = asyncio.run(_measure(plan, progress))
    except (BenchmarkFailed, StackError, TertuliaError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    if json_file is not None:
        json_file.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    print_report(_console(stderr=False), report)


async def _measure(plan: Plan, progress: Progress) -> Report:
    """Run `measure`; SIGTERM ends it as Ctrl-C does, and nothing stays behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await measure(plan, progress)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")

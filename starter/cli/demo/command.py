"""`demo`: the command."""

import asyncio
import sys
from typing import Annotated

import typer

from tertulia.starter.cli.options import DataOption
from tertulia.starter.cli.session import silence_library_logs


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)


def demo(
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="On a terminal, keep the stack running at the end until Enter.")
    ] = True,
    data: DataOption = None,
) -> None:
    """Run a demonstration of one minute: a join, a leave, a killed worker, and the proof.

    It runs in a temporary folder, on free ports, with the offline model. A folder given with --data is kept.
    """
    from tertulia.starter.cli.demo.run import run_demo

    silence_library_logs()
    try:
        all_passed = run_demo(data, wait=wait and sys.stdin.isatty())
    except asyncio.CancelledError:
        raise typer.Exit(130) from None
    if not all_passed:
        raise typer.Exit(1)

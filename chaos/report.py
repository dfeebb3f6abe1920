"""The matrix as a table: on the screen, and in `docs/reliability.md`."""

import os
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from chaos.faults import FAULTS
from chaos.injection_points import INJECTION_POINTS
from chaos.matrix import Cell

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
_MATRIX_START, _MATRIX_END = "<!-- matrix -->", "<!-- end of matrix -->"
_SOAK_START, _SOAK_END = "<!-- soak -->", "<!-- end of soak -->"


def print_matrix(console: Console, cells: Sequence[Cell]) -> None:
    """Print the table and the errors."""
    table = Table("moment", *_fault_names(cells), title="seconds to recover (calls repeated)")
    for moment in _point_names(cells):
        table.add_row(moment, *(_format_coloured_cell(_find(cells, fault, moment)) for fault in _fault_names(cells)))
    console.print(table)
    for line in summary(cells):
        console.print(line)
    for cell in cells:
        for wrong in cell.wrong:
            console.print(f"[red]{cell.fault}, {cell.moment}:[/red] {wrong}", soft_wrap=True)


def summary(cells: Sequence[Cell]) -> Iterator[str]:
    """Return the count and the recovery times."""
    passed = sum(cell.passed for cell in cells)
    yield f"{passed} of {len(cells)} cells: nothing lost, nothing doubled, nothing altered."
    seconds = sorted(cell.recovery_seconds for cell in cells if cell.recovery_seconds is not None)
    if seconds:
        worst = max(cells, key=lambda cell: cell.recovery_seconds or 0)
        yield (
            f"Seconds to recover: median {median(seconds):.1f}, worst {seconds[-1]:.1f} "
            f"({worst.fault}, {worst.moment})."
        )
    yield f"Model calls repeated: {sum(max(cell.repeated_calls, 0) for cell in cells)} in {len(cells)} conversations."


def write_matrix(cells: Sequence[Cell], minutes: float) -> None:
    """Write the results to the documentation."""
    faults = _fault_names(cells)
    lines = [
        f"Run of {date.today():%d %B %Y}, {os.cpu_count()} cores, {minutes:.0f} minutes.",  # noqa: DTZ011
        "",
        *(f"- {line}" for line in summary(cells)),
        "",
        "Each cell: ✓ = the conversation equals the undisturbed one; seconds to recover; +n = model calls repeated.",
        "",
        f"| moment | {' | '.join(faults)} |",
        f"| --- |{' --- |' * len(faults)}",
    ]
    for moment in _point_names(cells):
        row = " | ".join(_format_cell(_find(cells, fault, moment)) for fault in faults)
        lines.append(f"| {moment} | {row} |")
    _replace(_MATRIX_START, _MATRIX_END, lines)


def write_soak(lines: Sequence[str]) -> None:
    """Write the soak's results to the documentation."""
    _replace(_SOAK_START, _SOAK_END, lines)


def _replace(start_marker: str, end_marker: str, lines: Sequence[str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(start_marker)
    _, _, after = rest.partition(end_marker)
    text = "\n".join([start_marker, "", *lines, "", end_marker])
    PAGE.write_text(f"{before}{text}{after}", encoding="utf-8")


def _fault_names(cells: Sequence[Cell]) -> list[str]:
    return [fault for fault in FAULTS if any(cell.fault == fault for cell in cells)]


def _point_names(cells: Sequence[Cell]) -> list[str]:
    return [moment for moment in INJECTION_POINTS if any(cell.moment == moment for cell in cells)]


def _find(cells: Sequence[Cell], fault: str, moment: str) -> Cell | None:
    return next((cell for cell in cells if (cell.fault, cell.moment) == (fault, moment)), None)


def _format_cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    mark = "✓" if cell.passed else "✗"
    seconds = "" if cell.recovery_seconds is None else f" {cell.recovery_seconds:.1f}"
    return f"{mark}{seconds}" + (f" +{cell.repeated_calls}" if cell.repeated_calls > 0 else "")


def _format_coloured_cell(cell: Cell | None) -> str:
    colour = "green" if cell and cell.passed else "red"
    return f"[{colour}]{_format_cell(cell)}[/{colour}]"

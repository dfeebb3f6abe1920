"""A small part of the chaos matrix; `make chaos` runs all of it."""

from collections.abc import AsyncIterator

import pytest

from chaos.killable_stack import KillableStack, open_killable_stack
from chaos.matrix import Baseline, run_baseline, run_cells

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CELLS = (
    ("all workers killed", "after the commit, before the report"),
    ("one of two workers killed", "while the manager chooses"),
    ("Temporal killed", "during continue-as-new"),
    ("Postgres killed", "after the answer, before the commit"),
    ("connections to Postgres cut", "during a membership change"),
    ("model answers garbage", "before the model call"),
)


@pytest.fixture(scope="module")
async def killable() -> AsyncIterator[KillableStack]:
    async with open_killable_stack() as killable:
        yield killable


@pytest.fixture(scope="module")
async def baseline(killable: KillableStack) -> Baseline:
    return await run_baseline(killable)


@pytest.mark.parametrize(("fault", "moment"), CELLS, ids=lambda name: str(name))
async def test_chaos_cell_matches_undisturbed_run(
    killable: KillableStack, baseline: Baseline, fault: str, moment: str
) -> None:
    async for cell in run_cells(killable, [(fault, moment)], baseline):
        assert cell.wrong == []
        assert cell.recovery_seconds is not None

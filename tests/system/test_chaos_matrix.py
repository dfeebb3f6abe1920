"""A small part of the chaos matrix: `make chaos` plays all of it."""

from collections.abc import AsyncIterator

import pytest

from chaos.killable_stack import KillableStack, open_killable_stack
from chaos.matrix import Undisturbed, run_cells, run_undisturbed

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
async def undisturbed(killable: KillableStack) -> Undisturbed:
    return await run_undisturbed(killable)


@pytest.mark.parametrize(("fault", "moment"), CELLS, ids=lambda name: str(name))
async def test_chaos_cell_matches_undisturbed_run(
    killable: KillableStack, undisturbed: Undisturbed, fault: str, moment: str
) -> None:
    async for cell in run_cells(killable, [(fault, moment)], undisturbed):
        assert cell.wrong == []
        assert cell.recovery_seconds is not None

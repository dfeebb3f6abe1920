"""One embedded stack for the whole session: a real Temporal server, a real Postgres, the offline model."""

import signal
import time
from collections.abc import AsyncIterator

import pytest

from tertulia.devstack.stack import Stack
from tertulia.testing import OfflineModelControl, open_stack

pytest_plugins = ["tests.harness.command_line", "tests.harness.hypothesis_profiles"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--record` writes the committed histories and the workflow's fingerprint anew."""
    parser.addoption("--record", action="store_true", help="write tests/replay's histories and fingerprint anew")


def pytest_configure() -> None:
    """A shell starts background jobs with SIGINT ignored, and so would be the commands whose Ctrl-C is tested."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """Let the threads of Temporal's core come to rest: one that is at work while Python ends aborts the process."""
    time.sleep(0.3)


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The servers, without workers: tests bring their own."""
    async with open_stack(tmp_path_factory.mktemp("stack") / "data") as running:
        yield running


@pytest.fixture
async def model(stack: Stack) -> AsyncIterator[OfflineModelControl]:
    """The offline model, told nothing before and nothing after."""
    control = stack.model
    await control.reset()
    await control.clear_calls()
    yield control
    await control.reset()

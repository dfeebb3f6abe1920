"""One embedded stack for the whole session: a real Temporal server, a real Postgres, the offline model."""

import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack, StackOptions
from tertulia.store.migrate import upgrade_async

pytest_plugins = ["tests.harness.command_line", "tests.harness.hypothesis_profiles"]

_CONFIGURING = ("TEMPORAL_", "OPENAI_", "TERTULIA_", "DATABASE_URL")


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


def clean_environment() -> Mapping[str, str]:
    """This process's environment without what would point a part elsewhere than at the embedded stack."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_CONFIGURING)}
    return kept | {"TEMPORAL_CONFIG_FILE": os.devnull}


async def _migrate(stack: Stack) -> None:
    await upgrade_async(stack.configuration.database_url)


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The servers, without workers: tests bring their own."""
    data: Path = tmp_path_factory.mktemp("stack") / "data"
    options = StackOptions(
        data=data, temporal_port=0, ui_port=None, model_port=0, workers=0, environment=clean_environment()
    )
    async with Stack(options, prepare=_migrate) as running:
        yield running


@pytest.fixture
async def model(stack: Stack) -> AsyncIterator[OfflineModelControl]:
    """The offline model, told nothing before and nothing after."""
    base_url = stack.addresses.model_base_url
    assert base_url is not None
    control = OfflineModelControl(base_url)
    await control.reset()
    await control.clear_calls()
    yield control
    await control.reset()

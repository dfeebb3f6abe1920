"""A server is unavailable: commands report it in one line and can be sent again; turns wait and go on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from chaos.killable_stack import wait_until
from tertulia.devstack.data_folder import StackRecord
from tertulia.running_stack import STACK_FILE
from tertulia.testing import eventually
from tests.harness.command_line import CommandLine
from tests.system.test_worker_kills import GROUP, ScriptedStack, open_scripted_stack, transcript

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
async def scripted_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptedStack]:
    async with open_scripted_stack(tmp_path_factory.mktemp("stack") / "data") as opened:
        yield opened


@pytest.fixture
def command(scripted_stack: ScriptedStack, tmp_path: Path) -> CommandLine:
    return CommandLine(scripted_stack.stack.options.data, tmp_path / "unused")


@contextmanager
def frozen(scripted_stack: ScriptedStack, program: str) -> Iterator[None]:
    """Context manager: stop the program and its children with SIGSTOP."""
    record = StackRecord.model_validate_json((scripted_stack.stack.options.data / STACK_FILE).read_bytes())
    process = next(one for one in record.processes if one.name == program).find()
    assert process is not None
    all_of_it: list[psutil.Process] = [process, *process.children(recursive=True)]
    for one in all_of_it:
        one.suspend()
    try:
        yield
    finally:
        for one in all_of_it:
            one.resume()


async def test_frozen_temporal_accepts_retry_once(scripted_stack: ScriptedStack, command: CommandLine) -> None:
    client = scripted_stack.script.client
    conversation = (await client.conversations.create(GROUP, "Shall the square be closed to cars?")).id
    await eventually(
        lambda: client.conversations.handle(conversation).status(live=True),
        lambda status: status.stop_reason is not None,
    )
    say = ("say", conversation, "And at night?", "--id", "night")
    with frozen(scripted_stack, "temporal"):
        error_line = await asyncio.to_thread(command.process, *say, code=1)
        assert "not accepted" in error_line.stderr
        assert "--id night: it counts once" in error_line.stderr
        shown = await asyncio.to_thread(command.process, "show", conversation)
        assert "Shall the square" in shown.stdout, "reading the transcript needs no Temporal"
    for _ in range(2):
        await asyncio.to_thread(command.process, *say)
    await eventually(
        lambda: client.conversations.handle(conversation).status(live=True),
        lambda status: status.round == 2 and status.turn > 5,
    )
    texts = [line[4] for line in await transcript(client, conversation)]
    assert texts.count("And at night?") == 1


async def test_turns_wait_for_frozen_database(scripted_stack: ScriptedStack, command: CommandLine) -> None:
    client = scripted_stack.script.client
    await scripted_stack.model.set_behaviour(delay_ms=200)
    conversation = (await client.conversations.create(GROUP, "Shall the square be closed to cars?")).id
    await eventually(
        lambda: client.conversations.handle(conversation).status(live=True), lambda status: status.turn >= 1
    )
    with frozen(scripted_stack, "postgres"):
        error_line = await asyncio.to_thread(command.process, "show", conversation, code=1)
        assert error_line.stderr.startswith("tertulia: no database answers at ")
        assert error_line.stderr.count("\n") == 1
    await scripted_stack.stack.kill("postgres")
    await scripted_stack.model.reset()
    await wait_until(
        lambda: client.conversations.handle(conversation).status(live=True),
        lambda status: status.stop_reason is not None,
        60,
    )
    said = await transcript(client, conversation)
    assert [line[0] for line in said] == list(range(1, 7))

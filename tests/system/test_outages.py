"""A server is away: commands say so in one line, what was not accepted can be sent again, and turns wait and go on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tertulia.configuration import STACK_FILE
from tertulia.devstack.data_folder import StackRecord
from tests.eventually import eventually
from tests.system.conftest import CommandLine
from tests.system.test_kills import GROUP, House, open_house, transcript

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with open_house(tmp_path_factory.mktemp("house") / "data") as opened:
        yield opened


@pytest.fixture
def command(house: House, tmp_path: Path) -> CommandLine:
    return CommandLine(house.stack.options.data, tmp_path / "unused")


@contextmanager
def frozen(house: House, program: str) -> Iterator[None]:
    """The program and its children stand still, and answer nothing."""
    record = StackRecord.model_validate_json((house.stack.options.data / STACK_FILE).read_bytes())
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


async def test_what_a_frozen_temporal_did_not_accept_is_accepted_later_once(house: House, command: CommandLine) -> None:
    client = house.play.client
    conversation = (await client.conversations.create(GROUP, "Shall the square be closed to cars?")).id
    await eventually(
        lambda: client.conversations.handle(conversation).status(live=True),
        lambda status: status.stop_reason is not None,
    )
    say = ("say", conversation, "And at night?", "--id", "night")
    with frozen(house, "temporal"):
        refused = await asyncio.to_thread(command.process, *say, code=1)
        assert "not accepted" in refused.stderr
        assert "--id night: it counts once" in refused.stderr
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


async def test_turns_wait_for_a_database_that_is_away_and_go_on(house: House, command: CommandLine) -> None:
    client = house.play.client
    await house.model.behave(delay_ms=200)
    conversation = (await client.conversations.create(GROUP, "Shall the square be closed to cars?")).id
    await eventually(
        lambda: client.conversations.handle(conversation).status(live=True), lambda status: status.turn >= 1
    )
    with frozen(house, "postgres"):
        refused = await asyncio.to_thread(command.process, "show", conversation, code=1)
        assert refused.stderr.startswith("tertulia: the database")
        assert refused.stderr.count("\n") == 1
    await house.stack.kill("postgres")
    await house.model.reset()
    await eventually(
        lambda: client.conversations.handle(conversation).status(live=True),
        lambda status: status.stop_reason is not None,
        seconds=60,
    )
    said = await transcript(client, conversation)
    assert [line[0] for line in said] == list(range(1, 7))

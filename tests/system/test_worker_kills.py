"""Processes are killed with SIGKILL; the transcript equals that of an undisturbed run but for ids and times."""

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from chaos.killable_stack import wait_until
from tertulia.client.manifest import AgentSpec, GroupSpec, Manifest
from tertulia.configuration import Configuration
from tertulia.core.ids import ConversationId
from tertulia.core.status import ConversationStatus
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.running_stack import find_running_stack
from tertulia.store.tables import selections
from tertulia.testing import DirectClient, eventually, isolated_environment, open_stack
from tests.harness.command_line import CommandLine, wait_for_output

GROUP = "The table"
PERSONAS = {
    "Velma": "a sceptical economist",
    "Tomas": "a cook who has run kitchens",
    "Rosa": "a historian of cities",
    "Dora": "a gardener",
    "Host": "the host. Finish after 5 turns",
}
MessageLine = tuple[int, int | None, str, str, str]
Disturbance = Callable[[ConversationId], Awaitable[None]]


def definitions() -> Manifest:
    """Return a dynamic group of three and an agent that joins."""
    agents = tuple(
        AgentSpec.model_validate({"name": name, "instructions": f"You are {name}, {persona}."})
        for name, persona in PERSONAS.items()
    )
    group = {
        "name": GROUP,
        "agents": ["Velma", "Tomas", "Rosa"],
        "manager_config": {"manager_type": "dynamic", "manager_agent_id": "Host", "max_turns": 12},
    }
    return Manifest(agents=agents, groups=(GroupSpec.model_validate(group),))


async def _do_nothing(conversation: ConversationId) -> None:
    """No disturbance."""


class ScriptedConversation:
    """The same conversation each time, with a disturbance during its second round."""

    def __init__(self, client: DirectClient) -> None:
        self.client = client

    async def run(
        self, disturb: Disturbance = _do_nothing, *, while_joining: Disturbance = _do_nothing
    ) -> list[MessageLine]:
        """Run the conversation; return the transcript without ids and times."""
        conversation = (await self.client.conversations.create(GROUP, "Shall the square be closed to cars?")).id
        await self._idle(conversation, rounds=1)
        await self.client.scope.workflow_handle(conversation).signal(
            "add_member", {"agent": "Dora", "command_id": "join"}
        )
        await while_joining(conversation)
        await self.client.scope.workflow_handle(conversation).signal(
            "add_member", {"agent": "Dora", "command_id": "join"}
        )
        await self._until(conversation, lambda status: status.roster.epoch == 2)
        await self.client.conversations.handle(conversation).post("And at night?", message_id="two")
        await disturb(conversation)
        await self._idle(conversation, rounds=2)
        await self.client.conversations.handle(conversation).members.remove("Velma")
        await self.client.conversations.handle(conversation).post("And in winter?", message_id="three")
        await self._idle(conversation, rounds=3)
        await self.client.conversations.handle(conversation).stop()
        await self._until(conversation, lambda status: status.phase == "closed")
        return await transcript(self.client, conversation)

    async def _idle(self, conversation: ConversationId, rounds: int) -> None:
        await self._until(
            conversation,
            lambda status: (
                status.phase == "ready"
                and status.round == rounds
                and status.stop_reason is not None
                and not status.pending.commands
            ),
        )

    async def _until(self, conversation: ConversationId, condition: Callable[[ConversationStatus], bool]) -> None:
        await eventually(
            lambda: self.client.conversations.handle(conversation).status(live=True),
            condition,
            seconds=60,
            interval_seconds=0.05,
        )


async def transcript(client: DirectClient, conversation: str) -> list[MessageLine]:
    """Return every message without ids and times."""
    return [
        (message.seq, message.turn, message.role, message.sender, message.text)
        async for message in client.conversations.handle(conversation).transcript()
    ]


class ScriptedStack:
    """A stack with a worker process, a client, and the offline model's control."""

    def __init__(self, stack: Stack, client: DirectClient) -> None:
        self.stack = stack
        self.script = ScriptedConversation(client)
        self.model = stack.model

    async def kill_worker(self, _: ConversationId) -> None:
        """Send SIGKILL to the worker; the supervisor starts another."""
        await self.stack.kill_worker(0)

    async def kill_worker_during_call(self, conversation: ConversationId) -> None:
        """Send SIGKILL to the worker while a model call is in flight."""
        await eventually(self.model.calls, lambda calls: calls.in_flight > 0, interval_seconds=0.005)
        await self.kill_worker(conversation)


@asynccontextmanager
async def open_scripted_stack(data: Path, *, workers: int = 1, **environment: str) -> AsyncIterator[ScriptedStack]:
    """Context manager: a stack with this many workers and applied definitions."""
    async with (
        open_stack(data, workers=workers, settings=environment) as stack,
        DirectClient.open(stack.configuration) as client,
    ):
        await client.apply(definitions())
        yield ScriptedStack(stack, client)


@pytest.fixture(scope="module")
async def scripted_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptedStack]:
    """One stack for the module: a killed worker is restarted."""
    async with open_scripted_stack(tmp_path_factory.mktemp("stack") / "data") as opened:
        yield opened


@pytest.fixture(scope="module")
async def baseline(scripted_stack: ScriptedStack) -> list[MessageLine]:
    """The transcript of an undisturbed run."""
    said = await scripted_stack.script.run()
    assert [line[0] for line in said] == list(range(1, len(said) + 1))
    assert len(said) == 18
    return said


async def test_worker_killed_during_model_call(scripted_stack: ScriptedStack, baseline: list[MessageLine]) -> None:
    await scripted_stack.model.set_behaviour(delay_ms=250)
    try:
        assert await scripted_stack.script.run(scripted_stack.kill_worker_during_call) == baseline
    finally:
        await scripted_stack.model.reset()


async def test_worker_killed_between_turns(scripted_stack: ScriptedStack, baseline: list[MessageLine]) -> None:
    moments = random.Random(3)

    async def three_times(conversation: ConversationId) -> None:
        for _ in range(3):
            await asyncio.sleep(moments.random() * 0.2)
            await scripted_stack.kill_worker(conversation)

    assert await scripted_stack.script.run(three_times) == baseline


async def test_worker_killed_during_member_change(scripted_stack: ScriptedStack, baseline: list[MessageLine]) -> None:
    assert await scripted_stack.script.run(while_joining=scripted_stack.kill_worker) == baseline


async def test_budget_is_exact_after_worker_kill(scripted_stack: ScriptedStack) -> None:
    """The worker is killed during a call; then the budget is reached in the middle of the round."""
    written = definitions().groups[0].model_dump(mode="json")
    budgeted = {
        **written,
        "name": "A table with a budget",
        "manager_config": {**written["manager_config"], "max_turns": 100},
        "settings": {"budgets": [{"tokens": 1_500}]},
    }
    client = scripted_stack.script.client
    await client.apply(Manifest(groups=(GroupSpec.model_validate(budgeted),)))
    await scripted_stack.model.set_behaviour(delay_ms=200)
    try:
        conversation = (
            await client.conversations.create("A table with a budget", "Shall the square be closed to cars?")
        ).id
        await scripted_stack.kill_worker_during_call(conversation)
        status = await eventually(
            lambda: client.conversations.handle(conversation).status(live=True),
            lambda status: status.phase == "closed",
            seconds=60,
        )
    finally:
        await scripted_stack.model.reset()
    turns = [turn async for turn in client.conversations.handle(conversation).turns()]
    choices = await client.scope.database.rows(
        select(func.sum(selections.c.prompt_tokens + selections.c.completion_tokens)).where(
            selections.c.conversation_id == conversation
        )
    )
    assert status.stop_reason == "token_budget"
    assert (turns[-1].chosen_by, turns[-1].speaker, turns[-1].outcome) == ("conclusion", "Host", "spoke")
    spent = sum(turn.prompt_tokens + turn.completion_tokens for turn in turns) + choices[0][0]
    assert spent == status.usage.total_tokens
    last = turns[-1].prompt_tokens + turns[-1].completion_tokens
    assert spent - last >= 1_500
    said = await transcript(client, conversation)
    assert [line[0] for line in said] == list(range(1, len(said) + 1))


@pytest.mark.timeout(240)
async def test_killed_stack_resumes_conversation() -> None:
    with tempfile.TemporaryDirectory(prefix="tertulia-kill-") as folder:
        command_line = CommandLine(Path(folder, "data"), Path(folder, "up.log"))
        said = [await _run_with_kill(command_line, kill) for kill in (True, False)]
    assert said[0] == said[1]
    assert len(said[0]) == 6


async def _run_with_kill(command_line: CommandLine, kill: bool) -> list[MessageLine]:
    """Run one round under `tertulia up`, which is killed in its second model call and restarted if `kill`."""
    process = _up(command_line)
    try:
        async with _client(command_line) as (client, model):
            await client.apply(definitions())
            await model.set_behaviour(delay_ms=300)
            conversation = (await client.conversations.create(GROUP, "Shall the square be closed to cars?")).id
            await eventually(
                model.calls, lambda calls: calls.answered >= 3 and calls.in_flight > 0, interval_seconds=0.005
            )
        if kill:
            _kill_process_tree(process)
            process = _up(command_line)
        async with _client(command_line) as (client, _):
            await wait_until(
                lambda: client.conversations.handle(conversation).status(live=True),
                lambda status: status.stop_reason is not None,
                seconds=90,
            )
            return await transcript(client, conversation)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _up(command_line: CommandLine) -> psutil.Popen:
    with command_line.output.open("w") as output:
        process = psutil.Popen(
            [*command_line.up_command()], env=dict(command_line.environment), stdout=output, stderr=output
        )
    wait_for_output("Ctrl-C", process, command_line.output)
    return process


def _kill_process_tree(process: psutil.Popen) -> None:
    """Send SIGKILL to `up` alone: what it started must end with it."""
    children = process.children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


@asynccontextmanager
async def _client(command_line: CommandLine) -> AsyncIterator[tuple[DirectClient, OfflineModelControl]]:
    stack = find_running_stack(command_line.data)
    assert stack is not None
    environment = isolated_environment(TERTULIA_DATA=str(command_line.data))
    async with DirectClient.open(Configuration.from_environment(environment)) as client:
        yield client, OfflineModelControl(stack.model_base_url or "")

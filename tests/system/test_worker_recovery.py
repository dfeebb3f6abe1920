"""A worker dies with a model call or a write in its hands: the turn is soon under way again, with another worker or its
own successor. One that only is slow loses nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tertulia.activities.failpoints import FAILPOINTS_ENV, Failpoint
from tertulia.core.ids import ConversationId
from tertulia.testing import eventually
from tests.system.test_worker_kills import GROUP, ScriptedStack, open_scripted_stack, transcript

pytestmark = pytest.mark.slow

LIMIT_SECONDS = 12
"""A quiet machine needs two or three, and eight are promised; here other tests' servers share the cores."""


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
async def scripted_stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ScriptedStack]:
    folder = tmp_path_factory.mktemp("stack")
    failpoints = folder / "failpoints"
    failpoints.mkdir()
    async with open_scripted_stack(
        folder / "data", workers=request.param, **{FAILPOINTS_ENV: str(failpoints)}
    ) as scripted_stack:
        yield scripted_stack


def failpoints(scripted_stack: ScriptedStack) -> Path:
    return scripted_stack.stack.options.data.parent / "failpoints"


@asynccontextmanager
async def running_conversation(scripted_stack: ScriptedStack, delay_ms: int) -> AsyncIterator[ConversationId]:
    """A conversation whose model calls take a while."""
    await scripted_stack.model.clear_calls()
    await scripted_stack.model.set_behaviour(delay_ms=delay_ms)
    conversation = (
        await scripted_stack.script.client.conversations.create(GROUP, "Shall the square be closed to cars?")
    ).id
    try:
        yield conversation
    finally:
        await scripted_stack.model.reset()
        await scripted_stack.script.client.conversations.handle(conversation).stop()


async def kill_activity_worker(scripted_stack: ScriptedStack, conversation: ConversationId) -> float:
    """SIGKILL to the worker that holds the conversation's activity; the moment of its death."""
    description = await scripted_stack.script.client.scope.workflow_handle(conversation).describe()
    pending = description.raw_description.pending_activities
    pid = int(pending[0].last_worker_identity.partition("@")[0])
    await scripted_stack.stack.kill_worker(scripted_stack.stack.worker_pids.index(pid))
    return time.monotonic()


async def test_model_call_resumes_after_worker_kill(scripted_stack: ScriptedStack) -> None:
    async with running_conversation(scripted_stack, delay_ms=1_500) as conversation:
        await eventually(scripted_stack.model.calls, lambda calls: calls.in_flight > 0, interval_seconds=0.01)
        await asyncio.sleep(0.4)
        calls = (await scripted_stack.model.calls()).total
        died = await kill_activity_worker(scripted_stack, conversation)
        await eventually(scripted_stack.model.calls, lambda now: now.total > calls, interval_seconds=0.01)
        seconds = time.monotonic() - died
        print(f"the call was made again {seconds:.2f} s after its worker was killed")
        assert seconds < LIMIT_SECONDS
        await eventually(
            lambda: scripted_stack.script.client.conversations.handle(conversation).status(live=True),
            lambda status: status.turn >= 1,
        )
        said = await transcript(scripted_stack.script.client, conversation)
        assert [line[0] for line in said][:2] == [1, 2]


async def test_write_resumes_after_worker_kill(scripted_stack: ScriptedStack) -> None:
    armed = failpoints(scripted_stack) / Failpoint.BEFORE_POSTS_COMMIT
    hit = armed.with_name(f"{armed.name}.hit")
    armed.touch()
    async with running_conversation(scripted_stack, delay_ms=0) as conversation:
        await eventually(lambda: asyncio.to_thread(hit.exists), bool, interval_seconds=0.01)
        await asyncio.sleep(0.4)
        died = await kill_activity_worker(scripted_stack, conversation)
        hit.unlink()
        await eventually(
            lambda: scripted_stack.script.client.conversations.handle(conversation).status(live=True),
            lambda status: status.messages >= 1,
            interval_seconds=0.01,
        )
        seconds = time.monotonic() - died
        print(f"the talk went on {seconds:.2f} s after the worker was killed in the middle of a write")
        assert seconds < LIMIT_SECONDS
        said = await transcript(scripted_stack.script.client, conversation)
        assert said[0][0] == 1


async def test_slow_worker_is_not_declared_dead(scripted_stack: ScriptedStack) -> None:
    """It is stopped for a while, its connections stay: nobody takes its work, and no model is asked twice."""
    async with running_conversation(scripted_stack, delay_ms=1_000) as conversation:
        await eventually(scripted_stack.model.calls, lambda calls: calls.in_flight > 0, interval_seconds=0.01)
        await asyncio.sleep(0.3)
        processes = [psutil.Process(pid) for pid in scripted_stack.stack.worker_pids]
        for process in processes:
            process.suspend()
        await asyncio.sleep(3)
        for process in processes:
            process.resume()
        await eventually(
            lambda: scripted_stack.script.client.conversations.handle(conversation).status(live=True),
            lambda status: status.turn >= 2,
        )
        assert all(
            turn.attempt == 1
            for turn in [one async for one in scripted_stack.script.client.conversations.handle(conversation).turns()]
        )

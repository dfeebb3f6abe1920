"""Running conversations survive code changes: recorded histories replay against the present workflow.

`pytest tests/replay --record` records the histories and the fingerprint anew. Do that only for a change whose commit
tells its replay story; the old histories show what conversations that run now have done.
"""

import gzip
import json
import os
import socket
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing import open_workflow_harness
from tertulia.workflows.plugin import TertuliaPlugin
from tests.replay.scripts import SCRIPTS, change_of_group
from tests.workflows.test_conversation_history import run_histories

HISTORIES = Path(__file__).parent / "histories"
_OF_THE_MACHINE = {"identity", "stackTrace", "workerInstanceKey"}
RECORDED = sorted(HISTORIES.glob("*.json.gz"))


def _load(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json("conversation", gzip.decompress(path.read_bytes()).decode())


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name.removesuffix(".json.gz"))
async def test_recorded_history_replays(path: Path) -> None:
    await Replayer(workflows=[], plugins=[TertuliaPlugin()]).replay_workflow(_load(path))


@pytest.mark.parametrize("field", ["version", "rules_version"])
async def test_newer_state_fails_the_task(field: str) -> None:
    """The task is retried, until a worker of the newer version takes it; the conversation does not fail."""
    history = json.loads(gzip.decompress((HISTORIES / "closes_by_itself-1.json.gz").read_bytes()))
    started = next(event for event in history["events"] if "workflowExecutionStartedEventAttributes" in event)
    payload = started["workflowExecutionStartedEventAttributes"]["input"]["payloads"][0]
    state = json.loads(b64decode(payload["data"])) | {field: 99}
    payload["data"] = b64encode(json.dumps(state).encode()).decode()
    replayer = Replayer(workflows=[], plugins=[TertuliaPlugin()])
    with pytest.raises(RuntimeError, match="Failed decoding arguments"):
        await replayer.replay_workflow(WorkflowHistory.from_json("conversation", json.dumps(history)))


def test_recorded_histories_cover_every_step() -> None:
    text = b"".join(gzip.decompress(path.read_bytes()) for path in RECORDED).decode()
    for step in (
        "load_conversation",
        "find_newcomer",
        "apply_membership",
        "record_posts",
        "choose_speaker",
        "take_turn",
        "record_silent_turn",
        "EVENT_TYPE_TIMER_FIRED",
        "EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED",
        "close_conversation",
        "load_group",
        "close_round",
        "announce_phase",
        "write_change",
        "tell_conversations",
        "EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW",
        "EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED",
        "EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
        "EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED",
    ):
        assert f'"{step}"' in text, f"no recorded history holds {step}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.__name__))
async def test_new_conversation_history_replays(
    script: object, stack: Stack, model: OfflineModelControl, request: pytest.FixtureRequest
) -> None:
    async with open_workflow_harness(stack) as harness:
        assert callable(script)
        conversation = await script(harness)
        await harness.wait_until(conversation, lambda status: status.phase == "closed")
        histories = await run_histories(harness, conversation)
    for number, history in enumerate(histories, start=1):
        await Replayer(workflows=[], plugins=[TertuliaPlugin()]).replay_workflow(history)
        if request.config.getoption("--record"):
            _record(history, f"{getattr(script, '__name__', 'script')}-{number}")


async def test_new_group_change_history_replays(
    stack: Stack, model: OfflineModelControl, request: pytest.FixtureRequest
) -> None:
    async with open_workflow_harness(stack) as harness:
        change = await change_of_group(harness, await harness.group("Ana", "Ben"))
        history = await harness.client.scope.temporal.get_workflow_handle(change).fetch_history()
    await Replayer(workflows=[], plugins=[TertuliaPlugin()]).replay_workflow(history)
    if request.config.getoption("--record"):
        _record(history, "change_of_group")


def _record(history: WorkflowHistory, name: str) -> None:
    HISTORIES.mkdir(exist_ok=True)
    (HISTORIES / f"{name}.json.gz").write_bytes(gzip.compress(_anonymous(history).encode(), mtime=0))


def _anonymous(history: WorkflowHistory) -> str:
    """Return the history without values that identify the machine."""

    def without(value: object) -> object:
        if isinstance(value, dict):
            return {key: "" if key in _OF_THE_MACHINE else without(inner) for key, inner in value.items()}
        return [without(inner) for inner in value] if isinstance(value, list) else value

    process = f"{os.getpid()}@{socket.gethostname()}"
    return json.dumps(without(json.loads(history.to_json()))).replace(process, "worker")

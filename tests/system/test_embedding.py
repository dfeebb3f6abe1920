"""A foreign project with module names like ours runs its own workflow and Tertulia's workers in its own worker."""

import asyncio
import json
import shutil
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tertulia.configuration import Configuration
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing import DirectClient

EXAMPLE = Path(__file__).parents[2] / "examples" / "embedding"
FOREIGN_MODULES = ("activities", "configuration", "groups", "starter", "store", "worker", "workflows")
QUESTION = "Should the library open at night?"

_SHOW_ORIGINS = f"""
import importlib, json
names = {FOREIGN_MODULES!r}
own = {{name: importlib.import_module(name).__file__ for name in names}}
ours = {{name: importlib.import_module("tertulia." + name).__file__ for name in names if name != "groups"}}
print(json.dumps([own, ours]))
"""


class ForeignProject:
    """A copy of the example in a folder of its own, and the environment of its processes."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a Python process in the project's folder."""
        return await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=self.folder, env=self.environment, stdout=asyncio.subprocess.PIPE
        )

    async def run(self, *arguments: str) -> Any:
        """Run a Python process in the project's folder and return its output, which is JSON."""
        process = await self.start(*arguments)
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
        return json.loads(output)


@pytest.fixture
async def project(stack: Stack, model: OfflineModelControl, tmp_path: Path) -> AsyncIterator[ForeignProject]:
    """The project, with its worker running."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite"))
    suffix = uuid.uuid4().hex[:6]
    review = folder / "workflows" / "review.py"
    review.write_text(review.read_text().replace('"reviews"', f'"reviews-{suffix}"'))
    environment = stack.environment | {
        "TEMPORAL_ADDRESS": stack.configuration.temporal_address,
        "TERTULIA_TASK_QUEUE": f"embedded-{suffix}",
    }
    project = ForeignProject(folder, environment)
    worker = await project.start("worker.py")
    assert worker.stdout is not None
    try:
        assert await asyncio.wait_for(worker.stdout.readline(), 60) == b"ready\n"
        yield project
    finally:
        worker.terminate()
        await worker.communicate()
    assert worker.returncode == 0, "it stops by itself"


async def test_foreign_worker_runs_both_kinds_of_workflow(project: ForeignProject) -> None:
    workflow_id = uuid.uuid4().hex[:8]
    review = await project.run("-m", "starter", QUESTION, workflow_id)
    assert (review["conversation_id"], review["turns"]) == (f"review-{workflow_id}", 2)
    with sqlite3.connect(project.folder / "reviews.sqlite") as connection:
        stored = connection.execute("select conversation_id, turns, last_words from reviews").fetchall()
    connection.close()
    assert stored == [tuple(review.values())]
    async with DirectClient.open(Configuration.from_environment(project.environment)) as client:
        messages = [
            message.text async for message in client.conversations.handle(review["conversation_id"]).transcript()
        ]
        assert (messages[0], messages[-1], len(messages)) == (QUESTION, review["last_words"], 3)
        conversation = await client.conversations.create("Editors", "And in winter?")
        status = await conversation.wait_for_round(timeout_seconds=30)
        assert (status.turn, status.stop_reason) == (2, "max_turns")
        await conversation.stop()


async def test_foreign_modules_do_not_collide(project: ForeignProject) -> None:
    own, ours = await project.run("-c", _SHOW_ORIGINS)
    assert len(own) == len(FOREIGN_MODULES)
    for name, file in own.items():
        assert Path(file).is_relative_to(project.folder), f"{name} is {file}"
    for name, file in ours.items():
        assert not Path(file).is_relative_to(project.folder), f"tertulia.{name} is {file}"


async def test_connection_settings_of_example(project: ForeignProject) -> None:
    (project.folder / "client.pem").write_text("certificate")
    (project.folder / "client.key").write_text("key")
    script = """
import configuration, json
from pathlib import Path
tls = configuration.with_mutual_tls("host:7233", "ours", Path("client.pem"), Path("client.key"))["tls"]
cloud = configuration.with_api_key("host:7233", "ours", "secret")
pair = [tls.client_cert.decode(), tls.client_private_key.decode()]
print(json.dumps([cloud, *pair, dict(configuration.from_environment())]))
"""
    cloud, certificate, key, environment = await project.run("-c", script)
    assert cloud == {"target_host": "host:7233", "namespace": "ours", "api_key": "secret", "tls": True}
    assert (certificate, key) == ("certificate", "key")
    assert environment["target_host"] == project.environment["TEMPORAL_ADDRESS"]

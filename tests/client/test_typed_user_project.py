"""A user's project that imports `tertulia` passes `mypy --strict`, and mistakes in it are found."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import tertulia

MAIN = """
import asyncio
from pathlib import Path

import tertulia
from tertulia import (
    Configuration,
    Conversation,
    ConversationEvent,
    ConversationStatus,
    FinishedTurn,
    Interrupted,
    LiveDelta,
    Message,
    NotFound,
    Receipt,
    StoredAgent,
    StoredGroup,
    Tertulia,
    TertuliaError,
    read_manifest,
)


async def discuss(client: Tertulia) -> ConversationStatus:
    agent: StoredAgent = await client.agents.create(name="Velma", instructions="You look for clues.")
    group: StoredGroup = await client.groups.create(name="Table", agent_ids=[agent.id])
    conversation: Conversation = await client.conversations.create(group.group.id, "Shall the library open at night?")
    added: Receipt = await conversation.members.add("Iris", position=0)
    posted = await conversation.post("Who keeps the keys?", message_id="keys-1")
    print(added.detail, posted.command_id.upper())
    texts: list[str] = [message.text async for message in conversation.transcript()]
    turns: list[FinishedTurn] = [turn async for turn in conversation.turns()]
    print(texts, turns, [member.name for member in await conversation.members.list()])
    return await conversation.wait_for_round(timeout_seconds=30)


async def follow(conversation: Conversation) -> None:
    async for event in conversation.events(deltas=True):
        match event:
            case ConversationEvent(kind="message"):
                message: Message = Message.model_validate(event.data)
                print(message.sender, message.text)
            case LiveDelta():
                print(event.text)
            case Interrupted():
                print(event.reason)


async def main() -> None:
    configuration: Configuration = Configuration.from_environment()
    async with Tertulia.connect(configuration, organisation="default") as client:
        print((await discuss(client)).phase)
        await client.apply(read_manifest(Path("manifest.yaml")))
    async with Tertulia.connect_http("http://127.0.0.1:8230", "key") as client:
        for row in await client.conversations.list(phase="ready", limit=10):
            await follow(client.conversations.handle(row.conversation_id))
        created = await client.keys.create("reader", scopes=["read"])
        print(created.secret, (await client.blocks.create(label="notes")).version)
    async with Tertulia.connect_operator(configuration) as operator:
        tenant: Tertulia = await operator.organisation("default")
        try:
            await tenant.agents.retrieve("nobody")
        except NotFound as error:
            print(error.code)
        except TertuliaError:
            raise


print(tertulia.__version__)
asyncio.run(main())
"""

MISTAKES = """
from tertulia import Conversation, Tertulia


async def wrong(client: Tertulia, conversation: Conversation) -> int:
    await client.agents.create(nickname="Velma")
    await conversation.post(42)
    receipt = await conversation.pause()
    return receipt.command
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which `tertulia` and its dependencies are installed.

    mypy does not read packages that are installed in editable mode by an import hook, so paths stand in for them.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    paths = [Path(tertulia.__file__).parents[1], sysconfig.get_path("purelib")]
    (site_packages / "installed.pth").write_text("".join(f"{path}\n" for path in paths))
    return folder / "bin" / "python"


def run_mypy(python: Path, folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run mypy as a user does: in a folder of their own, on the installed package."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    cache = python.parents[1] / "mypy-cache"
    options = ("--strict", "--no-color-output", "--cache-dir", str(cache), "--python-executable", str(python))
    command = [sys.executable, "-m", "mypy", *options, name]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_user_project_is_typed(python: Path, tmp_path: Path) -> None:
    package = tmp_path / "guests"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "main.py").write_text(MAIN, encoding="utf-8")
    checked = run_mypy(python, tmp_path, "guests")
    assert (checked.returncode, checked.stdout) == (0, "Success: no issues found in 2 source files\n"), checked


def test_mistakes_of_users_are_found(python: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(MISTAKES, encoding="utf-8")
    checked = run_mypy(python, tmp_path, "wrong.py")
    found = [line.partition("[")[2] for line in checked.stdout.splitlines() if ": error:" in line]
    assert found == ["call-arg]", "arg-type]", "return-value]"], checked.stdout

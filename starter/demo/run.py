"""The demonstration as a whole: a stack of its own, the conversation on the screen, the proof; nothing stays behind."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tertulia.client.watch import StatusSeen, watch
from tertulia.core.status import ConversationStatus
from tertulia.devstack.events import StackEvent
from tertulia.devstack.offline_model.control import OfflineModelControl
from tertulia.devstack.offline_model.faults import Fault, Match
from tertulia.devstack.stack import Stack, StackOptions
from tertulia.starter.cli.follow import is_closed, show_item
from tertulia.starter.cli.live_view import LiveView
from tertulia.starter.cli.stack import bring_up_to_date
from tertulia.starter.cli.tables import print_transcript, print_turns
from tertulia.starter.cli.terminal import console
from tertulia.starter.demo.proof import Check, Evidence, Killing, checks
from tertulia.starter.demo.script import (
    CONVERSATION,
    GROUP,
    JOINER,
    LEAVER,
    QUESTION,
    SECOND_QUESTION,
    Cues,
    DemoFailed,
    Script,
)
from tertulia.testing import DirectClient

_GROUP_FILE = Path(__file__).with_name("demo.yaml")
_SPEAKING_MS = 1_100
_CHOOSING_MS = 250
_CONFIGURED_ELSEWHERE = ("TEMPORAL_", "OPENAI_", "TERTULIA_", "DATABASE_URL")
_LIMIT_SECONDS = 180.0


def run_demo(data: Path | None, *, wait: bool) -> bool:
    """Show everything, and say whether every claim held.

    Args:
        data: the folder to use, which stays; None = a temporary one.
        wait: whether to keep the stack up at the end until Enter.
    """
    with _folder(data) as folder:
        return asyncio.run(_until_interrupted(folder, wait))


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="tertulia-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


async def _until_interrupted(folder: Path, wait: bool) -> bool:
    """Let every signal that ends a process end the demonstration in order."""
    playing = asyncio.create_task(_play(folder, wait))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    return await playing


async def _play(folder: Path, wait: bool) -> bool:
    out = console()
    scene = LiveView(out, why=True, names={})
    out.print(Text("Tertulia: a demonstration. A stack of its own comes up; nothing has to be set up.\n", "bold"))
    async with _stack(folder, scene) as stack, DirectClient.open(stack.configuration) as client:
        url = f"{stack.addresses.temporal_ui_url}/namespaces/default/workflows/{CONVERSATION}"
        scene.add_note(f"the conversation in Temporal's UI: {url}", "cyan")
        await _slow_down(stack)
        evidence = await _converse(stack, client, scene)
        print_conclusion(out, evidence)
        held = print_checks(out, list(checks(evidence)))
        out.print(f"\nTemporal's UI: {url}", style="cyan", soft_wrap=True)
        if wait:
            out.print("The stack stays up until you press Enter.", style="bold")
            await _enter()
    return held


@asynccontextmanager
async def _stack(folder: Path, scene: LiveView) -> AsyncIterator[Stack]:
    """A stack that takes nothing from the environment: it shows the same thing everywhere."""
    options = StackOptions(data=folder, temporal_port=0, ui_port=0, model_port=0, environment=_environment(os.environ))

    def report(event: StackEvent) -> None:
        if event.program.startswith("worker") or event.program == "stack":
            scene.add_note(str(event), "red" if event.kind == "ended" else "green")

    async with Stack(options, prepare=bring_up_to_date, report=report) as stack:
        yield stack


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    own = {name: text for name, text in inherited.items() if not name.startswith(_CONFIGURED_ELSEWHERE)}
    return own | {"TEMPORAL_CONFIG_FILE": os.devnull, "TERTULIA_GRACEFUL_SHUTDOWN_SECONDS": "3"}


async def _slow_down(stack: Stack) -> None:
    """Let the offline model take its time, so that a person can follow and the worker can be killed in mid-call."""
    choosing = Fault(kind="slow", match=Match(tool="choose_next_participant"), delay_ms=_CHOOSING_MS)
    await OfflineModelControl(stack.addresses.model_base_url or "").behave(choosing, delay_ms=_SPEAKING_MS)


async def _converse(stack: Stack, client: DirectClient, scene: LiveView) -> Evidence:
    cues = Cues()
    script = Script(stack, scene, cues)
    await script.command("apply", str(_GROUP_FILE))
    await script.command("start", GROUP, QUESTION, "--id", CONVERSATION)
    try:
        async with asyncio.timeout(_LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(script.play())
            status = await _watch(client, scene, cues)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    except TimeoutError:
        message = f"the demonstration was not over after {_LIMIT_SECONDS:g} s: it waited for {script.awaits}"
        raise DemoFailed(message) from None
    return await _collect(stack, client, status, playing.result())


async def _watch(client: DirectClient, scene: LiveView, cues: Cues) -> ConversationStatus:
    """Show the conversation until it is closed."""
    with scene.live():
        async with aclosing(watch(client.conversations.handle(CONVERSATION), 0, deltas=scene.is_live)) as sightings:
            async for sighting in sightings:
                show_item(scene, sighting)
                await cues.saw(sighting)
                if isinstance(sighting, StatusSeen) and is_closed(sighting.status):
                    return sighting.status
    raise AssertionError("a watch does not end by itself")


async def _collect(stack: Stack, client: DirectClient, status: ConversationStatus, killing: Killing) -> Evidence:
    return Evidence(
        posted=(QUESTION, SECOND_QUESTION),
        joiner=JOINER,
        leaver=LEAVER,
        messages=[message async for message in client.conversations.handle(CONVERSATION).transcript()],
        turns=[turn async for turn in client.conversations.handle(CONVERSATION).turns()],
        changes=await client.conversations.handle(CONVERSATION).members.changes(),
        status=status,
        calls=await OfflineModelControl(stack.addresses.model_base_url or "").calls(),
        killing=killing,
        worker_pid=next(iter(stack.worker_pids), 0),
    )


def print_conclusion(out: Console, evidence: Evidence) -> None:
    """What was said, and a line for each turn."""
    _title(out, "The transcript")
    print_transcript(evidence.messages)
    _title(out, "The turns")
    print_turns(evidence.turns)


def print_checks(out: Console, made: list[Check]) -> bool:
    """Every claim with its numbers; whether all hold."""
    _title(out, "The proof")
    for check in made:
        mark = ("✓ ", "bold green") if check.holds else ("✗ ", "bold red")
        out.print(Text.assemble(mark, check.claim, (f": {check.numbers}", "dim")), soft_wrap=True)
    held = sum(check.holds for check in made)
    style = "bold green" if held == len(made) else "bold red"
    out.print(f"\n{held} of {len(made)} claims hold.", style=style)
    return held == len(made)


def _title(out: Console, words: str) -> None:
    out.print(f"{words}\n{'═' * len(words)}\n", style="bold cyan")


async def _enter() -> None:
    loop, pressed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, pressed.set)
    try:
        await pressed.wait()
    finally:
        loop.remove_reader(sys.stdin)

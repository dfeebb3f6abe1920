"""Run the demonstration: its own stack, the conversation on the screen, the proof. Nothing stays behind."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tertulia.client.watch import StatusSeen, watch
from tertulia.core.status import ConversationStatus
from tertulia.devstack.environment import isolated_environment
from tertulia.devstack.events import StackEvent
from tertulia.devstack.offline_model.faults import Fault, Match
from tertulia.devstack.prepare import migrate_and_create_key
from tertulia.devstack.stack import Stack, StackOptions
from tertulia.starter.cli.demo.checks import Check, DemoRecord, WorkerKill, run_checks
from tertulia.starter.cli.demo.script import (
    CONVERSATION,
    GROUP,
    JOINER,
    LEAVER,
    QUESTION,
    SECOND_QUESTION,
    ConversationProgress,
    DemoFailed,
    Script,
)
from tertulia.starter.cli.follow import is_closed, show_item
from tertulia.starter.cli.live_view import LiveView
from tertulia.starter.cli.tables import print_transcript, print_turns
from tertulia.starter.cli.terminal import console
from tertulia.testing import DirectClient

_GROUP_FILE = Path(__file__).with_name("demo.yaml")
_SPEAKING_MS = 1_100
_CHOOSING_MS = 250
_TIMEOUT_SECONDS = 180.0


def run_demo(data: Path | None, *, wait: bool) -> bool:
    """Show everything, and say whether every claim held.

    Args:
        data: the folder to use, which stays; None = a temporary one.
        wait: whether to keep the stack up at the end until Enter.
    """
    with _open_folder(data) as folder:
        return asyncio.run(_run_until_signal(folder, wait))


@contextmanager
def _open_folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="tertulia-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


async def _run_until_signal(folder: Path, wait: bool) -> bool:
    """Context manager: turn every signal that ends a process into an orderly end of the demonstration."""
    task = asyncio.create_task(_run_demo(folder, wait))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


async def _run_demo(folder: Path, wait: bool) -> bool:
    out = console()
    view = LiveView(out, why=True, names={})
    out.print(Text("Tertulia: a demonstration. A stack of its own comes up; nothing has to be set up.\n", "bold"))
    async with _open_stack(folder, view) as stack, DirectClient.open(stack.configuration) as client:
        url = f"{stack.addresses.temporal_ui_url}/namespaces/default/workflows/{CONVERSATION}"
        view.add_note(f"the conversation in Temporal's UI: {url}", "cyan")
        await _set_model_delays(stack)
        record = await _run_conversation(stack, client, view)
        print_transcript_and_turns(out, record)
        held = print_checks(out, list(run_checks(record)))
        out.print(f"\nTemporal's UI: {url}", style="cyan", soft_wrap=True)
        if wait:
            out.print("The stack stays up until you press Enter.", style="bold")
            await _wait_for_enter()
    return held


@asynccontextmanager
async def _open_stack(folder: Path, view: LiveView) -> AsyncIterator[Stack]:
    """Context manager: a stack that ignores the environment, so that it shows the same everywhere."""
    options = StackOptions(
        data=folder,
        temporal_port=0,
        ui_port=0,
        model_port=0,
        environment=isolated_environment(TERTULIA_GRACEFUL_SHUTDOWN_SECONDS="3"),
    )

    def report(event: StackEvent) -> None:
        if event.program.startswith("worker") or event.program == "stack":
            view.add_note(str(event), "red" if event.kind == "ended" else "green")

    async with Stack(options, prepare=migrate_and_create_key, report=report) as stack:
        yield stack


async def _set_model_delays(stack: Stack) -> None:
    """Delay the offline model, so that a person can follow and the worker can be killed during a call."""
    choosing = Fault(kind="slow", match=Match(tool="choose_next_participant"), delay_ms=_CHOOSING_MS)
    await stack.model.set_behaviour(choosing, delay_ms=_SPEAKING_MS)


async def _run_conversation(stack: Stack, client: DirectClient, view: LiveView) -> DemoRecord:
    progress = ConversationProgress()
    script = Script(stack, view, progress)
    await script.command("apply", str(_GROUP_FILE))
    await script.command("start", GROUP, QUESTION, "--id", CONVERSATION)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(script.run())
            status = await _watch_until_closed(client, view, progress)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    except TimeoutError:
        message = f"the demonstration was not over after {_TIMEOUT_SECONDS:g} s: it waited for {script.waiting_for}"
        raise DemoFailed(message) from None
    return await _collect_record(stack, client, status, task.result())


async def _watch_until_closed(
    client: DirectClient, view: LiveView, progress: ConversationProgress
) -> ConversationStatus:
    """Show the conversation until it is closed."""
    with view.live():
        async with aclosing(watch(client.conversations.handle(CONVERSATION), 0, deltas=view.is_live)) as items:
            async for item in items:
                show_item(view, item)
                await progress.update(item)
                if isinstance(item, StatusSeen) and is_closed(item.status):
                    return item.status
    raise AssertionError("a watch does not end by itself")


async def _collect_record(
    stack: Stack, client: DirectClient, status: ConversationStatus, worker_kill: WorkerKill
) -> DemoRecord:
    return DemoRecord(
        posted=(QUESTION, SECOND_QUESTION),
        joiner=JOINER,
        leaver=LEAVER,
        messages=[message async for message in client.conversations.handle(CONVERSATION).transcript()],
        turns=[turn async for turn in client.conversations.handle(CONVERSATION).turns()],
        changes=await client.conversations.handle(CONVERSATION).members.changes(),
        status=status,
        calls=await stack.model.calls(),
        worker_kill=worker_kill,
        worker_pid=next(iter(stack.worker_pids), 0),
    )


def print_transcript_and_turns(out: Console, record: DemoRecord) -> None:
    """Print the transcript and a line for each turn."""
    _print_title(out, "The transcript")
    print_transcript(record.messages)
    _print_title(out, "The turns")
    print_turns(record.turns)


def print_checks(out: Console, results: list[Check]) -> bool:
    """Print every claim with its numbers; return whether all hold."""
    _print_title(out, "The proof")
    for check in results:
        mark = ("✓ ", "bold green") if check.passed else ("✗ ", "bold red")
        out.print(Text.assemble(mark, check.claim, (f": {check.numbers}", "dim")), soft_wrap=True)
    held = sum(check.passed for check in results)
    style = "bold green" if held == len(results) else "bold red"
    out.print(f"\n{held} of {len(results)} claims hold.", style=style)
    return held == len(results)


def _print_title(out: Console, title: str) -> None:
    out.print(f"{title}\n{'═' * len(title)}\n", style="bold cyan")


async def _wait_for_enter() -> None:
    loop, pressed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, pressed.set)
    try:
        await pressed.wait()
    finally:
        loop.remove_reader(sys.stdin)

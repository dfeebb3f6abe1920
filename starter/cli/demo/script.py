"""The script of the demonstration: the actions at each turn. Every change goes through the real commands."""

import asyncio
import sys
from dataclasses import dataclass, field

from tertulia.client.timeline import MessageAdded, RosterChanged
from tertulia.client.watch import StatusSeen, WatchItem
from tertulia.core.errors import TertuliaError
from tertulia.core.status import is_round_over
from tertulia.devstack.stack import Stack
from tertulia.starter.cli.demo.checks import WorkerKill
from tertulia.starter.cli.live_view import LiveView

CONVERSATION = "demo"
GROUP = "The long table"
QUESTION = "Should our town close its main square to cars?"
SECOND_QUESTION = "What would you try first, for a single month?"
JOINER = "Iris"
LEAVER = "Otto"

_JOIN_AFTER_TURN = 2
_POLL_SECONDS = 0.03
_COMMAND_TIMEOUT_SECONDS = 40.0


class DemoFailed(TertuliaError):
    """The demonstration could not be completed."""


@dataclass
class ConversationProgress:
    """The progress of the conversation, for steps that wait for it."""

    turn: int = 0
    changes: int = 0
    speakers: set[str] = field(default_factory=set)
    questions: int = 0
    is_idle: bool = False
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def update(self, item: WatchItem) -> None:
        """Record an item of the watch."""
        async with self._changed:
            if isinstance(item, MessageAdded) and item.message.turn is not None:
                self.turn = item.message.turn
                self.speakers.add(item.message.sender)
            elif isinstance(item, MessageAdded):
                self.questions += 1
                self.is_idle = False
            elif isinstance(item, RosterChanged):
                self.changes += 1
            elif isinstance(item, StatusSeen):
                self.is_idle = is_round_over(item.status)
            self._changed.notify_all()

    async def wait_for_turn(self, turn: int) -> None:
        """Wait until this turn has been taken."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.turn >= turn)

    async def wait_for_speaker(self, name: str) -> None:
        """Wait until this member has spoken."""
        async with self._changed:
            await self._changed.wait_for(lambda: name in self.speakers)

    async def wait_for_changes(self, count: int) -> None:
        """Wait until the roster has changed this often."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.changes >= count)

    async def wait_for_idle(self, *, questions: int) -> None:
        """Wait until this many questions have been asked and the round has ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.is_idle and self.questions >= questions)


class Script:
    """Runs the script on a running stack."""

    def __init__(self, stack: Stack, view: LiveView, progress: ConversationProgress) -> None:
        self._stack = stack
        self._view = view
        self._progress = progress
        self._model = stack.model
        self.waiting_for = ""
        """The event that the script waits for at the moment."""

    async def run(self) -> WorkerKill:
        """Run from the second turn to the end of the conversation.

        On a slow machine the conversation may run ahead of a command: each step waits for what it needs, and the kill
        falls into
        the round that the second question starts or prolongs.
        """
        self.waiting_for = f"turn {_JOIN_AFTER_TURN}"
        await self._progress.wait_for_turn(_JOIN_AFTER_TURN)
        await self.command("members", "add", CONVERSATION, JOINER)
        self.waiting_for = f"words of {LEAVER}"
        await self._progress.wait_for_speaker(LEAVER)
        await self.command("members", "remove", CONVERSATION, LEAVER)
        self.waiting_for = "two changes of the roster"
        await self._progress.wait_for_changes(2)
        await self.command("say", CONVERSATION, SECOND_QUESTION, "--id", "second-question")
        self.waiting_for = "a model call of a member"
        worker_kill = await self._kill_worker_during_call()
        # Again, as if the first answer had been lost, and while no worker runs: it counts once.
        await self.command("say", CONVERSATION, SECOND_QUESTION, "--id", "second-question")
        self.waiting_for = "the end of the round"
        await self._progress.wait_for_idle(questions=2)
        await self.command("stop", CONVERSATION, "--reason", "the demonstration is over")
        return worker_kill

    async def command(self, *arguments: str) -> None:
        """Run a command of `tertulia` as a process of its own.

        Raises:
            DemoFailed: its exit code is not 0; the message is what it said.
        """
        shown = " ".join(f'"{word}"' if " " in word else word for word in arguments)
        self.waiting_for = f"tertulia {shown}"
        self._view.add_note(f"$ tertulia {shown}", "bold")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "tertulia.starter.cli", *arguments),
            env=self._stack.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_COMMAND_TIMEOUT_SECONDS):
                _, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise DemoFailed(f"tertulia {shown}: {errors.decode(errors='replace').strip()}")

    async def _kill_worker_during_call(self) -> WorkerKill:
        """Send SIGKILL to the worker while a member's model call is in flight."""
        before = await self._model.calls()
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            calls = await self._model.calls()
            calling = {name for name in calls.by_speaker if calls.by_speaker[name] > before.by_speaker.get(name, 0)}
            before = calls
            # The manager has never spoken.
            if calls.in_flight and (speakers := calling & self._progress.speakers):
                break
        pid = self._stack.worker_pids[0]
        speaker = speakers.pop()
        await self._stack.kill_worker(0)
        self._view.add_note(f"$ kill -KILL {pid}   (the worker, while {speaker}'s model call is in flight)", "bold red")
        return WorkerKill(pid, calls.in_flight, await self._count_unanswered(), speaker)

    async def _count_unanswered(self) -> int:
        """Return the number of calls that were never answered, counted once none is in flight."""
        while True:
            calls = await self._model.calls()
            if not calls.in_flight:
                return calls.total - calls.answered
            await asyncio.sleep(_POLL_SECONDS)

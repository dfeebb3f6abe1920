"""The script of the demonstration: at which turn who does what. Every change goes through the real commands."""

import asyncio
import sys
from dataclasses import dataclass, field

from tertulia.client.timeline import MessageAdded, RosterChanged
from tertulia.client.watch import StatusSeen, WatchItem
from tertulia.core.errors import TertuliaError
from tertulia.core.status import is_round_over
from tertulia.devstack.offline_model.control import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.starter.cli.live_view import LiveView
from tertulia.starter.demo.proof import Killing

CONVERSATION = "demo"
GROUP = "The long table"
QUESTION = "Should our town close its main square to cars?"
SECOND_QUESTION = "What would you try first, for a single month?"
JOINER = "Iris"
LEAVER = "Otto"

_JOIN_AFTER = 2
_LOOK_SECONDS = 0.03
_COMMAND_SECONDS = 40.0


class DemoFailed(TertuliaError):
    """The demonstration could not be played to its end."""


@dataclass
class Cues:
    """How far the conversation has come, for those who wait for their cue."""

    turn: int = 0
    changes: int = 0
    speakers: set[str] = field(default_factory=set)
    questions: int = 0
    rests: bool = False
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def saw(self, sighting: WatchItem) -> None:
        """Take note of what has happened."""
        async with self._moved:
            if isinstance(sighting, MessageAdded) and sighting.message.turn is not None:
                self.turn = sighting.message.turn
                self.speakers.add(sighting.message.sender)
            elif isinstance(sighting, MessageAdded):
                self.questions += 1
                self.rests = False
            elif isinstance(sighting, RosterChanged):
                self.changes += 1
            elif isinstance(sighting, StatusSeen):
                self.rests = is_round_over(sighting.status)
            self._moved.notify_all()

    async def after_turn(self, turn: int) -> None:
        """Wait until that turn has been taken."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.turn >= turn)

    async def heard(self, name: str) -> None:
        """Wait until that member has spoken."""
        async with self._moved:
            await self._moved.wait_for(lambda: name in self.speakers)

    async def after_changes(self, count: int) -> None:
        """Wait until the roster has changed so many times."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.changes >= count)

    async def at_rest(self, *, questions: int) -> None:
        """Wait until so many questions have been asked, and the round has ended."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.rests and self.questions >= questions)


class Script:
    """Acts on a running stack while the audience watches."""

    def __init__(self, stack: Stack, scene: LiveView, cues: Cues) -> None:
        self._stack = stack
        self._scene = scene
        self._cues = cues
        self._model = OfflineModelControl(stack.addresses.model_base_url or "")
        self.awaits = ""
        """What it waits for at the moment."""

    async def play(self) -> Killing:
        """From the second turn to the end of the conversation. On a slow machine the talk may run ahead of a command:
        each step waits for what it needs, and the kill falls into the round that the second question sets off or
        prolongs.
        """
        self.awaits = f"turn {_JOIN_AFTER}"
        await self._cues.after_turn(_JOIN_AFTER)
        await self.command("members", "add", CONVERSATION, JOINER)
        self.awaits = f"words of {LEAVER}"
        await self._cues.heard(LEAVER)
        await self.command("members", "remove", CONVERSATION, LEAVER)
        self.awaits = "two changes of the roster"
        await self._cues.after_changes(2)
        await self.command("say", CONVERSATION, SECOND_QUESTION, "--id", "second-question")
        self.awaits = "a model call of a member"
        killing = await self._kill_in_mid_call()
        # Again, as if the first answer had been lost, and while no worker runs: it counts once.
        await self.command("say", CONVERSATION, SECOND_QUESTION, "--id", "second-question")
        self.awaits = "the end of the round"
        await self._cues.at_rest(questions=2)
        await self.command("stop", CONVERSATION, "--reason", "the demonstration is over")
        return killing

    async def command(self, *arguments: str) -> None:
        """Run a command of `tertulia` as a process of its own.

        Raises:
            DemoFailed: its exit code is not 0; the message is what it said.
        """
        shown = " ".join(f'"{word}"' if " " in word else word for word in arguments)
        self.awaits = f"tertulia {shown}"
        self._scene.add_note(f"$ tertulia {shown}", "bold")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tertulia.starter.cli", *arguments),
            env=self._stack.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_COMMAND_SECONDS):
                _, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise DemoFailed(f"tertulia {shown}: {errors.decode(errors='replace').strip()}")

    async def _kill_in_mid_call(self) -> Killing:
        """SIGKILL the worker at a moment when a participant's model call is in flight."""
        before = await self._model.calls()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            calls = await self._model.calls()
            begun = {name for name in calls.by_speaker if calls.by_speaker[name] > before.by_speaker.get(name, 0)}
            before = calls
            # The manager has never spoken.
            if calls.in_flight and (speakers := begun & self._cues.speakers):
                break
        pid = self._stack.worker_pids[0]
        speaker = speakers.pop()
        await self._stack.kill_worker(0)
        self._scene.add_note(
            f"$ kill -KILL {pid}   (the worker, while {speaker}'s model call is in flight)", "bold red"
        )
        return Killing(pid, calls.in_flight, await self._unanswered(), speaker)

    async def _unanswered(self) -> int:
        """How many calls were never answered, counted once none is in flight."""
        while True:
            calls = await self._model.calls()
            if not calls.in_flight:
                return calls.total - calls.answered
            await asyncio.sleep(_LOOK_SECONDS)

"""The source of `tertulia watch`: the conversation's events as they happen, and at its turning points what the workflow
says of itself.

Nothing here ends a watch: a worker, a server or a database that does not answer is told of, and waited for.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from tertulia.client.asking import NO_WORKER, StatusQuestion, Waiting, public_phase
from tertulia.client.backend import Answer, Conversing
from tertulia.client.timeline import Happening, Overheard, Passing, Timeline, closing
from tertulia.core.records import Interrupted, LiveDelta, Occurrence
from tertulia.core.status import ConversationStatus


@dataclass(frozen=True)
class StatusSeen:
    """The conversation has answered. All that had happened until then has been told before, and nothing after it."""

    status: ConversationStatus


Sighting: TypeAlias = Happening | Passing | StatusSeen | Waiting


async def watch(
    client: Conversing, conversation_id: str, after: int, *, words: bool = False
) -> AsyncGenerator[Sighting, None]:
    """Everything behind the event `after`, as it happens, without end; with `words` also what is being said."""
    source = _Source(client.events(conversation_id, after, deltas=words))
    question = StatusQuestion(client, conversation_id)
    telling = _Telling(after, question)
    try:
        while True:
            awaited: set[asyncio.Future[Any]] = {source.coming, *question.asked}
            await asyncio.wait(awaited, timeout=question.pause(), return_when=asyncio.FIRST_COMPLETED)
            if source.coming.done():
                sightings = telling.occurrence(source.take())
            else:
                sightings = telling.answer(question.answer())
            for sighting in sightings:
                yield sighting
    finally:
        await source.close()
        await question.drop()


class _Source:
    """The next occurrence, waited for beside other things."""

    def __init__(self, occurrences: AsyncGenerator[Occurrence, None]) -> None:
        self._occurrences = occurrences
        self.coming: asyncio.Future[Occurrence | None] = asyncio.ensure_future(anext(occurrences, None))

    def take(self) -> Occurrence | None:
        """What has come; None once, when nothing will come any more."""
        taken = self.coming.result()
        if taken is None:
            self.coming = asyncio.get_running_loop().create_future()
        else:
            self.coming = asyncio.ensure_future(anext(self._occurrences, None))
        return taken

    async def close(self) -> None:
        self.coming.cancel()
        await asyncio.wait({self.coming})
        await self._occurrences.aclose()


class _Telling:
    """What to tell a reader, of what happens and of what the workflow answers."""

    def __init__(self, after: int, question: StatusQuestion) -> None:
        self._number = after
        self._timeline = Timeline()
        self._question = question
        self._interrupted = False

    def occurrence(self, occurrence: Occurrence | None) -> Iterator[Sighting]:
        """What has happened; None = all is over."""
        self._interrupted = isinstance(occurrence, Interrupted)
        match occurrence:
            case None:
                self._question.ask()
            case Interrupted(reason=reason):
                yield Waiting(reason)
            case LiveDelta():
                self._question.heard(self._timeline.phase)
                yield Overheard(occurrence)
            case event:
                self._number = event.number
                happening = self._timeline.happening(event)
                self._question.heard(self._timeline.phase)
                if event.kind == "phase" and self._timeline.phase != "executing":
                    self._question.ask()
                if happening is not None:
                    yield happening

    def answer(self, answer: Answer | Waiting | None) -> Iterator[Sighting]:
        """What the workflow says of itself, unless it and the events that were told are not at the same point."""
        match answer:
            case Waiting(reason=reason) if reason == NO_WORKER and self._interrupted:
                # The question may not have got as far as the worker.
                self._question.wait_again()
            case Waiting():
                yield answer
            case Answer(status=status, stand=stand):
                self._interrupted = False
                phase = self._timeline.phase
                if stand != self._number or phase not in (None, public_phase(status)):
                    self._question.ask_again()
                    return
                if status.phase == "closed" and phase is None:
                    yield closing(status)
                self._question.heard(public_phase(status))
                yield StatusSeen(status)

"""Asking a workflow what it says of itself, beside other things: one that does not answer holds nothing up."""

import asyncio
from dataclasses import dataclass
from time import monotonic

from tertulia.client.backend import Answer, Conversing, SourceAway
from tertulia.core.errors import Unavailable
from tertulia.core.phases import PublicPhase
from tertulia.core.status import ConversationStatus

QUIET_SECONDS = 5.0
"""While a round runs and nothing is heard for so long, the workflow is asked whether it still lives."""
AGAIN_SECONDS = 0.2
"""When the workflow is asked again that has not come as far as its events, or that they have overtaken."""
LAST_AGAIN_SECONDS = 2.0
REST_SECONDS = 1.0
"""When it is asked again after it could not be reached."""
PATIENCE_SECONDS = 3.0

NO_WORKER = "no worker answers"


@dataclass(frozen=True)
class Waiting:
    """Something that is needed does not answer."""

    reason: str


class StatusQuestion:
    """Asks for the status beside the reading, so that a worker that does not answer holds nothing up."""

    def __init__(self, client: Conversing, conversation_id: str) -> None:
        self._client = client
        self._conversation_id = conversation_id
        self._asked: asyncio.Task[Answer] | None = None
        self._since = monotonic()
        self._due: float | None = None
        self._owed = False
        """Whether the last question has no answer that could be told: then it is asked again, whatever is heard."""
        self._outdated = False
        """Whether the question that waits was asked before what the next one is about."""
        self._again = AGAIN_SECONDS
        self._told = False
        self.ask()

    @property
    def asked(self) -> set[asyncio.Task[Answer]]:
        """The question that waits for its answer, if any."""
        return {self._asked} if self._asked else set()

    def ask(self) -> None:
        """Ask now; what is answered to an earlier question does not count any more."""
        self._again = AGAIN_SECONDS
        self._outdated = True
        self._begin()

    def ask_again(self) -> None:
        """Ask in a moment, and each time in a longer one."""
        self._owe(self._again)
        self._again = min(self._again * 2, LAST_AGAIN_SECONDS)

    def heard(self, phase: PublicPhase | None) -> None:
        """The conversation lives; in a round, it has to be heard of again soon."""
        if not self._owed:
            self._due = monotonic() + QUIET_SECONDS if phase in (None, "executing") else None

    def pause(self) -> float | None:
        """For how long there is nothing to do; None = as long as nothing happens."""
        if self._asked is None:
            return None if self._due is None else max(self._due - monotonic(), 0)
        return None if self._told else max(self._since + PATIENCE_SECONDS - monotonic(), 0)

    def answer(self) -> Answer | Waiting | None:
        """What came of the question; also, once, that it remains without an answer. It is asked when it is due."""
        if self._asked is None:
            if self._due is not None and monotonic() >= self._due:
                self._begin()
            return None
        if not self._asked.done():
            return self._wait(NO_WORKER) if monotonic() - self._since >= PATIENCE_SECONDS else None
        asked, self._asked = self._asked, None
        try:
            answer = asked.result()
        except SourceAway:
            self._owe(REST_SECONDS)
            return None
        except Unavailable as error:
            self._owe(REST_SECONDS)
            return self._wait(str(error))
        self._told = False
        if self._outdated:
            self._begin()
            return None
        return answer

    def wait_again(self) -> None:
        """Be as patient once more as if the question had just been asked."""
        self._told, self._since = False, monotonic()

    async def drop(self) -> None:
        """Leave the question without an answer."""
        if self._asked is not None:
            self._asked.cancel()
            # What it holds, a connection say, is given back before the program ends.
            await asyncio.wait({self._asked})

    def _begin(self) -> None:
        if self._asked is None or self._asked.done():
            self._since, self._due, self._owed, self._outdated = monotonic(), None, False, False
            self._asked = asyncio.create_task(self._client.answer(self._conversation_id))

    def _owe(self, seconds: float) -> None:
        self._due, self._owed = monotonic() + seconds, True

    def _wait(self, reason: str) -> Waiting | None:
        if self._told:
            return None
        self._told = True
        return Waiting(reason)


def public_phase(status: ConversationStatus) -> PublicPhase:
    """The phase as events tell of it."""
    phase = status.phase
    return phase if phase in ("ready", "paused", "closed") else "executing"

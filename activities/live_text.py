"""Words on their way to those who watch, while a participant still speaks.

Law: nothing here slows a turn or fails it. What is sent is a foretaste: the message that the turn commits is the truth.
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from tertulia.core.text import clean, without_own_name
from tertulia.store.database import Database
from tertulia.store.notifications import LIVE_CHANNEL

COLLECT_SECONDS = 0.1
"""How long words are collected before they are sent."""
PIECE_CHARS = 1_000
"""In one notification, whose 8,000 bytes hold that many of the worst characters."""
_DOUBTFUL_CHARS = 12
"""So much may still turn out to be nothing but a pass, with whatever models put around it."""
_PATIENCE_SECONDS = 2.0

_NOTIFY = select(func.pg_notify(LIVE_CHANNEL, bindparam("payload")))

logger = logging.getLogger("tertulia.live")


class Overture:
    """What may be shown of a speech that is not over: as much as its message will hold for sure.

    Args:
        name: the speaker's, which models like to put before their words.
        limit: of the message's characters.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._heard: list[str] = []
        self._room = limit + len(name) + _DOUBTFUL_CHARS
        self._shown = 0

    def hear(self, words: str) -> None:
        """Further words."""
        if self._room > 0:
            self._heard.append(words)
            self._room -= len(words)

    def take(self) -> tuple[int, str]:
        """What has not been shown yet, and how many characters came before it."""
        begun = "".join(self._heard).lstrip()
        if len(begun) <= len(self._name) + 1:
            return 0, ""
        text = clean(without_own_name(begun, self._name), self._limit)
        if len(text) <= _DOUBTFUL_CHARS:
            return 0, ""
        offset, self._shown = self._shown, max(self._shown, len(text))
        return offset, text[offset:]


class LiveWords:
    """Lets those who watch hear what is said in this process.

    Args:
        database: whose notifications carry the words.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sending: set[asyncio.Task[None]] = set()

    @contextmanager
    def of_turn(self, conversation_id: str, turn: int, attempt: int, overture: Overture) -> Iterator[None]:
        """While the block runs, send on what the overture has to show."""
        head: dict[str, str | int] = {"conversation_id": conversation_id, "turn": turn, "attempt": attempt}
        over = asyncio.Event()
        task = asyncio.create_task(self._send_on(head, overture, over))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        try:
            yield
        finally:
            # Not waited for and not cancelled: a statement under way ends by itself.
            over.set()

    async def _send_on(self, head: dict[str, str | int], overture: Overture, over: asyncio.Event) -> None:
        try:
            while not over.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(COLLECT_SECONDS):
                        await over.wait()
                offset, text = overture.take()
                for begin in range(0, len(text), PIECE_CHARS):
                    if over.is_set():
                        return
                    piece = text[begin : begin + PIECE_CHARS]
                    await self._send({**head, "offset": offset + begin, "text": piece})
        except Exception as error:
            logger.debug("words could not be sent: %s", type(error).__name__)

    async def _send(self, told: dict[str, str | int]) -> None:
        with suppress(SQLAlchemyError, OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._database.rows(_NOTIFY, {"payload": json.dumps(told, ensure_ascii=False)})

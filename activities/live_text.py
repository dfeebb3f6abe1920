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

from tertulia.core.text import clean_text, strip_own_name
from tertulia.store.database import Database
from tertulia.store.notifications import LIVE_CHANNEL

PUBLISH_INTERVAL_SECONDS = 0.1
"""How long words are collected before they are sent."""
MAX_NOTIFICATION_CHARS = 1_000
"""In one notification, whose 8,000 bytes hold that many of the worst characters."""
_UNDECIDED_CHARS = 12
"""So much may still turn out to be nothing but a pass, with whatever models put around it."""
_NOTIFY_TIMEOUT_SECONDS = 2.0

_NOTIFY = select(func.pg_notify(LIVE_CHANNEL, bindparam("payload")))

logger = logging.getLogger("tertulia.live")


class StreamPreview:
    """What may be shown of a speech that is not over: as much as its message will hold for sure.

    Args:
        name: the speaker's, which models like to put before their words.
        limit: of the message's characters.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._parts: list[str] = []
        self._remaining_chars = limit + len(name) + _UNDECIDED_CHARS
        self._published_chars = 0

    def add_text(self, text: str) -> None:
        """Further words."""
        if self._remaining_chars > 0:
            self._parts.append(text)
            self._remaining_chars -= len(text)

    def take_new_text(self) -> tuple[int, str]:
        """What has not been shown yet, and how many characters came before it."""
        received = "".join(self._parts).lstrip()
        if len(received) <= len(self._name) + 1:
            return 0, ""
        text = clean_text(strip_own_name(received, self._name), self._limit)
        if len(text) <= _UNDECIDED_CHARS:
            return 0, ""
        offset, self._published_chars = self._published_chars, max(self._published_chars, len(text))
        return offset, text[offset:]


class LiveTextPublisher:
    """Lets those who watch hear what is said in this process.

    Args:
        database: whose notifications carry the words.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def publish_turn(self, conversation_id: str, turn: int, attempt: int, preview: StreamPreview) -> Iterator[None]:
        """While the block runs, send on what the overture has to show."""
        turn_fields: dict[str, str | int] = {"conversation_id": conversation_id, "turn": turn, "attempt": attempt}
        done = asyncio.Event()
        task = asyncio.create_task(self._publish_until_done(turn_fields, preview, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            yield
        finally:
            # Not waited for and not cancelled: a statement under way ends by itself.
            done.set()

    async def _publish_until_done(
        self, turn_fields: dict[str, str | int], preview: StreamPreview, done: asyncio.Event
    ) -> None:
        try:
            while not done.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(PUBLISH_INTERVAL_SECONDS):
                        await done.wait()
                offset, text = preview.take_new_text()
                for start in range(0, len(text), MAX_NOTIFICATION_CHARS):
                    if done.is_set():
                        return
                    chunk = text[start : start + MAX_NOTIFICATION_CHARS]
                    await self._send({**turn_fields, "offset": offset + start, "text": chunk})
        except Exception as error:
            logger.debug("words could not be sent: %s", type(error).__name__)

    async def _send(self, payload: dict[str, str | int]) -> None:
        with suppress(SQLAlchemyError, OSError, TimeoutError):
            async with asyncio.timeout(_NOTIFY_TIMEOUT_SECONDS):
                await self._database.rows(_NOTIFY, {"payload": json.dumps(payload, ensure_ascii=False)})

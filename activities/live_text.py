"""Publish the text of a turn while the model still generates it, as Postgres notifications.

Invariant: publishing never delays or fails a turn. Published text is a preview; only the committed message counts.
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
"""Time for which text is collected into one notification."""
MAX_NOTIFICATION_CHARS = 1_000
"""Characters per notification. Postgres allows 8,000 bytes, and JSON escapes can take six bytes per character."""
_UNDECIDED_CHARS = 12
"""A text of at most this length may still become a pass, with the punctuation that models add to it."""
_NOTIFY_TIMEOUT_SECONDS = 2.0

_NOTIFY = select(func.pg_notify(LIVE_CHANNEL, bindparam("payload")))

logger = logging.getLogger("tertulia.live")


class StreamPreview:
    """Collect the text of a running turn and return the part that its message will certainly contain.

    Args:
        name: the speaker's name, which models often write before their text and the message leaves out.
        limit: maximum characters of the message.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._parts: list[str] = []
        self._remaining_chars = limit + len(name) + _UNDECIDED_CHARS
        self._published_chars = 0

    def add_text(self, text: str) -> None:
        """Append text from the model."""
        if self._remaining_chars > 0:
            self._parts.append(text)
            self._remaining_chars -= len(text)

    def take_new_text(self) -> tuple[int, str]:
        """Return the new text since the last call, after its offset in the message in characters."""
        received = "".join(self._parts).lstrip()
        if len(received) <= len(self._name) + 1:
            return 0, ""
        text = clean_text(strip_own_name(received, self._name), self._limit)
        if len(text) <= _UNDECIDED_CHARS:
            return 0, ""
        offset, self._published_chars = self._published_chars, max(self._published_chars, len(text))
        return offset, text[offset:]


class LiveTextPublisher:
    """Publish the text of turns that this process executes.

    Args:
        database: sends the notifications.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def publish_turn(self, conversation_id: str, turn: int, attempt: int, preview: StreamPreview) -> Iterator[None]:
        """Publish the preview's new text every `PUBLISH_INTERVAL_SECONDS` while the block runs."""
        turn_fields: dict[str, str | int] = {"conversation_id": conversation_id, "turn": turn, "attempt": attempt}
        done = asyncio.Event()
        task = asyncio.create_task(self._publish_until_done(turn_fields, preview, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            yield
        finally:
            # Neither awaited, which would delay the turn, nor cancelled, which would break a database connection.
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
            logger.debug("cannot publish live text: %s", type(error).__name__)

    async def _send(self, payload: dict[str, str | int]) -> None:
        with suppress(SQLAlchemyError, OSError, TimeoutError):
            async with asyncio.timeout(_NOTIFY_TIMEOUT_SECONDS):
                await self._database.rows(_NOTIFY, {"payload": json.dumps(payload, ensure_ascii=False)})

"""The events of a conversation as server-sent events, which a reader that was cut off resumes where it stopped."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Path, Query, Request, Response

from tertulia.api.dependencies import ReadScope, SharedListener
from tertulia.api.event_shapes import EventStreamText
from tertulia.api.security import Reader
from tertulia.api.sse import EventStream, OpenStreams
from tertulia.core.records import Interrupted, LiveDelta, StreamEvent
from tertulia.service.conversation_events import has_more_events
from tertulia.service.conversations import ConversationService
from tertulia.store.database import Database
from tertulia.store.keys import is_valid
from tertulia.store.notifications import Listener

RETRY_MILLISECONDS = 1_000
"""After how long a reader that was cut off shall come back."""
_MAX_EVENT_NUMBER = 10**18

router = APIRouter(prefix="/conversations", tags=["conversations"])


@asynccontextmanager
async def run_listener(app: FastAPI, database: Database) -> AsyncIterator[None]:
    """While the block runs, the application's streams are woken."""
    async with Listener(database) as listener:
        app.state.listener = listener
        app.state.streams = OpenStreams()
        yield


_CONVERSATION_HELP = "The conversation's id."
_AFTER_HELP = "Begin behind the event of this number; 0 = from the start."
_LAST_EVENT_ID_HELP = "As `after`, and before it: what a reader that was cut off sends by itself."
_DELTAS_HELP = (
    "Whether to tell words as they are said, too. They are a foretaste: the message that follows is the truth."
)


@router.get(
    "/{conversation_id}/events",
    response_model=None,
    response_class=EventStream,
    status_code=200,
    responses={
        200: {"model": EventStreamText, "description": "The events, until the conversation is closed."},
        204: {"description": "The conversation is closed, and its last event was seen: nothing follows."},
    },
)
async def follow(
    request: Request,
    scope: ReadScope,
    listener: SharedListener,
    reader: Reader,
    conversation_id: Annotated[str, Path(description=_CONVERSATION_HELP)],
    after: Annotated[int, Query(ge=0, le=_MAX_EVENT_NUMBER, description=_AFTER_HELP)] = 0,
    last_event_id: Annotated[
        int | None, Header(alias="Last-Event-ID", ge=0, le=_MAX_EVENT_NUMBER, description=_LAST_EVENT_ID_HELP)
    ] = None,
    deltas: Annotated[bool, Query(description=_DELTAS_HELP)] = True,
) -> Response:
    """Follow a conversation: every event once and in order, as it happens, until it is closed.

    Each event's `id` is its number, 1, 2, 3… without gaps. A reader that was cut off goes on behind the last one it has
    seen, with `Last-Event-ID` or `after`. A reader that does not read is cut off.
    """
    service = ConversationService(scope)
    await service.retrieve(conversation_id)
    cursor = after if last_event_id is None else last_event_id
    if not await has_more_events(scope.database, conversation_id, cursor):
        return Response(status_code=204)
    streams: OpenStreams = request.app.state.streams
    streams.check_limit(reader.key_id)

    return EventStream(
        _encode_events(service.events(conversation_id, after=cursor, deltas=deltas, listener=listener)),
        stopping=request.app.state.stopping,
        is_still_allowed=partial(is_valid, scope.database, reader.key_id),
        streams=streams,
        key_id=reader.key_id,
    )


async def _encode_events(events: AsyncGenerator[StreamEvent, None]) -> AsyncGenerator[bytes, None]:
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    async with aclosing(events):
        async for stream_event in events:
            yield encode(stream_event)


def encode(stream_event: StreamEvent) -> bytes:
    """One occurrence as it is sent. Only what is kept has an id: a reader resumes behind that."""
    match stream_event:
        case Interrupted():
            return b": the database does not answer; what follows comes when it does\n\n"
        case LiveDelta():
            return _format_event("delta", stream_event.model_dump(mode="json"))
        case event:
            data = {"created_at": event.model_dump(mode="json")["created_at"], **event.data}
            return f"id: {event.number}\n".encode() + _format_event(event.kind, data)


def _format_event(kind: str, data: object) -> bytes:
    # JSON holds no line break of its own, so that one line is enough.
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()

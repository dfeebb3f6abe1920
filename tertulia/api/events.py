"""`/v1/conversations/{conversation_id}/events`: a conversation's events as server-sent events.

Invariant: a client that reconnects with the last id it has received gets every later event once and in order.
"""

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
from tertulia.core.records import INTERRUPTED_EVENT, Interrupted, LiveDelta, StreamEvent
from tertulia.service.conversation_events import has_more_events
from tertulia.service.conversations import ConversationService
from tertulia.store.database import Database
from tertulia.store.keys import is_valid
from tertulia.store.notifications import Listener

RETRY_MILLISECONDS = 1_000
"""Delay after which a disconnected client reconnects."""
_MAX_EVENT_NUMBER = 10**18

router = APIRouter(prefix="/conversations", tags=["conversations"])


@asynccontextmanager
async def run_listener(app: FastAPI, database: Database) -> AsyncIterator[None]:
    """Context manager: receive the notifications that wake the application's streams."""
    async with Listener(database) as listener:
        app.state.listener = listener
        app.state.streams = OpenStreams()
        yield


_CONVERSATION_HELP = "Id of the conversation."
_AFTER_HELP = "Number of an event; the stream starts just after it. 0 = from the first event."
_LAST_EVENT_ID_HELP = "The same as `after`, and takes precedence: browsers send it when they reconnect."
_DELTAS_HELP = (
    "Also send the text of a turn while the model produces it. It is a preview: the `message` that follows is final."
)


@router.get(
    "/{conversation_id}/events",
    summary="Stream the events of a conversation",
    response_model=None,
    response_class=EventStream,
    status_code=200,
    responses={
        200: {"model": EventStreamText, "description": "The events until the conversation is closed."},
        204: {"description": "The conversation is closed and no event follows."},
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
    """Stream every event once and in order until the conversation is closed.

    The `id` of an event is its number: 1, 2, 3… without gaps. After a disconnect, continue with the number of the last
    received event in `Last-Event-ID` or `after`. A client that stops reading is disconnected.
    """
    service = ConversationService(scope)
    await service.retrieve(conversation_id)
    cursor = after if last_event_id is None else last_event_id
    if not await has_more_events(scope.database, conversation_id, cursor):
        # A browser's EventSource reconnects after the end of a stream, except after 204.
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
    """Encode an event. Only stored events have an id: a client cannot resume after a delta."""
    match stream_event:
        case Interrupted():
            # Clients of the previous version read the comment.
            comment = f": {stream_event.reason}; the stream continues when it does\n".encode()
            return comment + _format_event(INTERRUPTED_EVENT, {"reason": stream_event.reason})
        case LiveDelta():
            return _format_event("delta", stream_event.model_dump(mode="json"))
        case event:
            data = {"created_at": event.model_dump(mode="json")["created_at"], **event.data}
            return f"id: {event.number}\n".encode() + _format_event(event.kind, data)


def _format_event(kind: str, data: object) -> bytes:
    # JSON escapes line breaks, so that one `data` line is enough.
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()

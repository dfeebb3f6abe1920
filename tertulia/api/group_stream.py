"""`/v1/groups/{group_id}/messages/stream`: send messages to a group and stream the agents' messages of the round."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from tertulia.api.dependencies import PostScope, SharedListener
from tertulia.api.group_messages import IdempotencyKey, group_answer_shape
from tertulia.api.schemas.messages import GroupEvents, SendMessages, message_shape
from tertulia.api.security import Poster
from tertulia.api.sse import EventStream, OpenStreams
from tertulia.core import records
from tertulia.core.ids import ConversationId, GroupId
from tertulia.core.records import ConversationEvent, Message, StreamEvent
from tertulia.service.conversation_events import read_event_stream
from tertulia.service.group_messages import post_to_group, wait_for_answer
from tertulia.service.groups import GroupService
from tertulia.store.database import Database
from tertulia.store.events import last_event
from tertulia.store.keys import is_valid
from tertulia.store.transcript import PostedMessage, find_posted

router = APIRouter(prefix="/groups", tags=["groups"])

_DONE = b"data: [DONE]\n\n"


@router.post(
    "/{group_id}/messages/stream",
    summary="Send messages to a group and stream the answers",
    response_model=None,
    response_class=EventStream,
    status_code=200,
    responses={200: {"model": GroupEvents, "description": "The agents' messages, then the stop reason and the usage."}},
)
async def stream(
    request: Request,
    scope: PostScope,
    listener: SharedListener,
    principal: Poster,
    group_id: str,
    body: SendMessages,
    idempotency_key: IdempotencyKey = None,
) -> EventStream:
    """Send messages to the group and stream each agent's message when it is committed, until the round ends.

    The stream ends with the stop reason, the usage and `[DONE]`. A disconnect does not end the round: the same request
    with the same `Idempotency-Key` posts nothing and streams the same messages again.
    """
    streams: OpenStreams = request.app.state.streams
    streams.check_limit(principal.key_id)
    current_id = (await GroupService(scope).retrieve(group_id)).default_conversation_id
    # Read before the messages are posted: an event after this number cannot be missed.
    last_seen_event = await last_event(scope.database, current_id) if current_id else 0
    posts = [message.post for message in body.messages]
    accepted = await post_to_group(scope, GroupId(group_id), posts, idempotency_key=idempotency_key)
    # After a reset, the messages start a new conversation, whose events are counted from 1.
    after = last_seen_event if accepted.conversation_id == current_id else 0
    return EventStream(
        _encode_stream(
            _read_agent_messages(
                scope.database,
                accepted,
                read_event_stream(scope.database, accepted.conversation_id, after, listener=listener),
            ),
            partial(wait_for_answer, scope, listener, accepted),
            accepted.conversation_id,
        ),
        stopping=request.app.state.stopping,
        is_still_allowed=partial(is_valid, scope.database, principal.key_id),
        streams=streams,
        key_id=principal.key_id,
    )


async def _encode_stream(
    agent_messages: AsyncGenerator[Message, None],
    wait_for_result: Callable[[], Coroutine[Any, Any, records.GroupAnswer]],
    conversation_id: ConversationId,
) -> AsyncGenerator[bytes, None]:
    """Yield the agents' messages as they are committed, then the rest of the answer."""
    sent: set[int] = set()
    async with aclosing(agent_messages):
        answer_task = asyncio.create_task(wait_for_result())
        next_message = asyncio.create_task(_next_or_none(agent_messages))
        try:
            while not answer_task.done():
                await asyncio.wait((answer_task, next_message), return_when=asyncio.FIRST_COMPLETED)
                if not next_message.done():
                    continue
                message = next_message.result()
                if message is None:
                    # The conversation was closed; the answer has the rest.
                    break
                sent.add(message.seq)
                yield _encode_line(message_shape(conversation_id, message))
                next_message = asyncio.create_task(_next_or_none(agent_messages))
            final_answer = group_answer_shape(await answer_task)
        finally:
            next_message.cancel()
            answer_task.cancel()
            await asyncio.wait((next_message, answer_task))
    # The round can end before its last events have arrived.
    for shape in final_answer.messages:
        if shape.seq_id not in sent:
            yield _encode_line(shape)
    yield _encode_line(final_answer.stop_reason)
    yield _encode_line(final_answer.usage)
    yield _DONE


async def _next_or_none(agent_messages: AsyncGenerator[Message, None]) -> Message | None:
    return await anext(agent_messages, None)


async def _read_agent_messages(
    database: Database, accepted: records.GroupAnswer, events: AsyncGenerator[StreamEvent, None]
) -> AsyncGenerator[Message, None]:
    """Yield the agents' messages that follow the first posted message."""
    first: PostedMessage | None = None
    async with aclosing(events):
        async for event in events:
            if not isinstance(event, ConversationEvent) or event.data.get("role") != "assistant":
                continue
            first = first or await find_posted(database, accepted.conversation_id, accepted.message_ids[0])
            message = Message.model_validate({**event.data, "created_at": event.created_at})
            if first is not None and message.seq > first.seq:
                yield message


def _encode_line(shape: BaseModel) -> bytes:
    return f"data: {shape.model_dump_json()}\n\n".encode()

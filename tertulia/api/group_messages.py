"""`/v1/groups/{group_id}/messages`: messages to a group. They form one default conversation, until a reset."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from tertulia.api.dependencies import GroupsToRead, OperateScope, PostScope, ReadScope, SharedListener
from tertulia.api.disconnect import cancel_on_disconnect
from tertulia.api.schemas.messages import (
    GroupAnswer,
    GroupMessage,
    MessageQuery,
    MessagesAccepted,
    SendMessages,
    message_shape,
    parse_message_id,
    stop_reason,
    usage_statistics,
)
from tertulia.core import records
from tertulia.core.group import RoundRobinConfig
from tertulia.core.ids import ConversationId, GroupId
from tertulia.service.group_messages import post_to_group, reset_group, wait_for_answer
from tertulia.store.transcript import TranscriptPage, read_transcript_page

router = APIRouter(prefix="/groups", tags=["groups"])

_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": MessagesAccepted, "description": "The messages were accepted (with `background`)."}
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=100,
        pattern=r"^[\x21-\x7e]+$",
        description="A repeated request with the same key posts nothing and gets the first answer again.",
    ),
]


@router.post("/{group_id}/messages", summary="Send messages to a group", responses=_ACCEPTED)
async def send(
    request: Request,
    scope: PostScope,
    listener: SharedListener,
    group_id: str,
    body: SendMessages,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> GroupAnswer | MessagesAccepted:
    """Send messages to the group and wait for the end of the round that they start.

    The first message starts the group's default conversation; later messages continue it. With `background`, the
    response comes at once, and the conversation's events report the progress. A client that disconnects does not end
    the round.
    """
    accepted = await post_to_group(
        scope,
        GroupId(group_id),
        [message.post for message in body.messages],
        idempotency_key=idempotency_key,
    )
    if not body.background:
        return group_answer_shape(
            await cancel_on_disconnect(request.receive, wait_for_answer(scope, listener, accepted))
        )
    response.status_code = 202
    return MessagesAccepted(conversation_id=accepted.conversation_id, message_ids=[*accepted.message_ids])


def group_answer_shape(answer: records.GroupAnswer) -> GroupAnswer:
    """Convert the answer to messages to its response."""
    one_turn_each = isinstance(answer.rules, RoundRobinConfig) and answer.rules.max_turns is None
    agent_messages = [message for message in answer.messages if message.role == "assistant"]
    return GroupAnswer(
        messages=[message_shape(answer.conversation_id, message) for message in agent_messages],
        stop_reason=stop_reason(answer.stop_reason, one_turn_each=one_turn_each),
        usage=usage_statistics(answer.usage, answer.turns),
        conversation_id=answer.conversation_id,
        message_ids=[*answer.message_ids],
    )


@router.get("/{group_id}/messages", summary="List messages of a group")
async def messages(
    scope: ReadScope, service: GroupsToRead, group_id: str, query: Annotated[MessageQuery, Query()]
) -> list[GroupMessage]:
    """List the messages of the group's default conversation since the last reset, page by page."""
    conversation_id = (await service.retrieve(group_id)).default_conversation_id
    page = TranscriptPage(
        before=_message_seq(query.before, conversation_id, "before"),
        after=_message_seq(query.after, conversation_id, "after"),
        limit=query.limit,
        order=query.order,
    )
    if conversation_id is None:
        return []
    return [
        message_shape(conversation_id, message)
        for message in await read_transcript_page(scope.database, conversation_id, page)
    ]


@router.patch("/{group_id}/reset-messages", summary="Reset the messages of a group", status_code=204)
async def reset(scope: OperateScope, group_id: str) -> None:
    """Close the default conversation; the next message starts a new one. The closed transcript stays readable."""
    await reset_group(scope, GroupId(group_id))


def _message_seq(message_id: str | None, conversation_id: ConversationId | None, field: str) -> int | None:
    return None if message_id is None else parse_message_id(message_id, conversation_id, field)

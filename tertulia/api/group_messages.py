"""`/v1/groups/{group_id}/messages`: talk with a group. All that is said to it is one conversation, until a reset."""

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
    202: {"model": MessagesAccepted, "description": "Accepted, with `background`."}
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=100,
        pattern=r"^[\x21-\x7e]+$",
        description="The same request sent again with the same key is answered as the first, and said once.",
    ),
]


@router.post("/{group_id}/messages", responses=_ACCEPTED)
async def send(
    request: Request,
    scope: PostScope,
    listener: SharedListener,
    group_id: str,
    body: SendMessages,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> GroupAnswer | MessagesAccepted:
    """Say something to the group, and wait until the round that it sets off is over.

    The first message starts the group's default conversation, the next ones continue it. With `background`, the answer
    comes at once; the conversation's events tell the rest. One who leaves ends the waiting, and not the round.
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
    """The answer to messages to a group, in this shape."""
    one_turn_each = isinstance(answer.rules, RoundRobinConfig) and answer.rules.max_turns is None
    agent_messages = [message for message in answer.messages if message.role == "assistant"]
    return GroupAnswer(
        messages=[message_shape(answer.conversation_id, message) for message in agent_messages],
        stop_reason=stop_reason(answer.stop_reason, one_turn_each=one_turn_each),
        usage=usage_statistics(answer.usage, answer.turns),
        conversation_id=answer.conversation_id,
        message_ids=[*answer.message_ids],
    )


@router.get("/{group_id}/messages")
async def messages(
    scope: ReadScope, service: GroupsToRead, group_id: str, query: Annotated[MessageQuery, Query()]
) -> list[GroupMessage]:
    """A page of what was said to the group and in it, since it was reset."""
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


@router.patch("/{group_id}/reset-messages", status_code=204)
async def reset(scope: OperateScope, group_id: str) -> None:
    """Let the next message to the group start a new conversation; the present one closes, and its transcript stays."""
    await reset_group(scope, GroupId(group_id))


def _message_seq(message_id: str | None, conversation_id: ConversationId | None, field: str) -> int | None:
    return None if message_id is None else parse_message_id(message_id, conversation_id, field)

"""Messages to a group: post them to the group's default conversation and return what the round produced.

Invariant: a message with the same id is posted once and returns the same answer each time.
"""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress

from tertulia.core.commands import PostMessage, Stop
from tertulia.core.errors import ConversationClosed, NotFound, Unavailable
from tertulia.core.group import Group
from tertulia.core.ids import ConversationId, GroupId
from tertulia.core.records import GroupAnswer, Message
from tertulia.service.command_updates import send_command
from tertulia.service.conversation_start import check_not_empty, post_or_start
from tertulia.service.conversations import new_conversation_id
from tertulia.service.scope import OrganisationScope
from tertulia.store.default_conversations import NewIdTaken, claim_default_conversation, reset_default_conversation
from tertulia.store.groups import find_group
from tertulia.store.notifications import Listener
from tertulia.store.rounds import read_message_outcome
from tertulia.store.transcript import PostedMessage, find_posted, read_messages

_CHECK_INTERVAL_SECONDS = 30.0
"""Longest wait for a notification before the database is read anyway."""
_ATTEMPTS = 5
_MAX_MESSAGES = 1_000


async def post_to_group(
    scope: OrganisationScope,
    group_id: GroupId,
    messages: Sequence[PostMessage],
    *,
    idempotency_key: str | None = None,
) -> GroupAnswer:
    """Post messages to a group and return at once; the answer holds no messages of the group yet.

    Raises:
        NotFound: no such group.
        CommandRefused: the group is empty, or a message cannot be posted.
        Unavailable: no answer; posting again with the same key is safe.
    """
    group = await find_group(scope.database, scope.organisation_id, group_id)
    check_not_empty(group)
    key = idempotency_key or str(uuid.uuid4())
    posts = [
        post.model_copy(update={"command_id": post.command_id or (f"{key}:{number}" if number else key)})
        for number, post in enumerate(messages)
    ]
    conversation_id = await _post_all(scope, group, posts)
    return GroupAnswer(
        conversation_id=conversation_id,
        rules=group.manager_config,
        message_ids=tuple(str(post.command_id) for post in posts),
    )


async def wait_for_answer(scope: OrganisationScope, listener: Listener, accepted: GroupAnswer) -> GroupAnswer:
    """Wait until the round of the last message has ended, or the conversation is closed or paused.

    A pause ends the wait because its length is unknown.
    """
    with listener.subscribe(accepted.conversation_id, phases_only=True) as subscription:
        while (finished_answer := await _read_answer(scope, accepted)) is None:
            subscription.unsure = False
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_INTERVAL_SECONDS):
                    await subscription.wait()
    return finished_answer


async def reset_group(scope: OrganisationScope, group_id: GroupId) -> None:
    """Close the group's default conversation; the next message to the group starts a new one.

    Raises:
        NotFound: no such group.
    """
    previous = await reset_default_conversation(scope.database, scope.organisation_id, group_id)
    if previous is not None:
        # A conversation that was claimed but never started cannot be stopped.
        with suppress(ConversationClosed, NotFound):
            await send_command(scope, previous, Stop(reason="the group was reset", command_id=f"{previous}:reset"))


async def _post_all(scope: OrganisationScope, group: Group, posts: Sequence[PostMessage]) -> ConversationId:
    """Post all messages to the conversation that accepts the first of them."""
    closed: ConversationId | None = None
    for _ in range(_ATTEMPTS):
        try:
            conversation_id = await claim_default_conversation(
                scope.database,
                scope.organisation_id,
                group.id,
                new_conversation_id(scope, group),
                message_id=str(posts[0].command_id),
                closed=closed,
            )
        except NewIdTaken:
            continue
        try:
            for post in posts:
                if await find_posted(scope.database, conversation_id, str(post.command_id)) is None:
                    await post_or_start(scope, group, conversation_id, post)
        except ConversationClosed:
            closed = conversation_id
        else:
            return conversation_id
    raise Unavailable("the group's conversation was closed during each attempt; try again with the same key")


async def _read_answer(scope: OrganisationScope, answer: GroupAnswer) -> GroupAnswer | None:
    database, conversation_id = scope.database, answer.conversation_id
    outcome = await read_message_outcome(database, conversation_id, answer.message_ids[-1])
    finished = outcome.finished
    if finished is None and outcome.phase not in ("closed", "paused"):
        return None
    messages = await _messages_after(scope, answer, await find_posted(database, conversation_id, answer.message_ids[0]))
    if finished is None:
        reason = outcome.stop_reason if outcome.phase == "closed" else "paused"
        return answer.model_copy(update={"messages": messages, "stop_reason": reason})
    return answer.model_copy(
        update={
            "messages": tuple(message for message in messages if message.seq <= finished.seq),
            "usage": finished.usage,
            "stop_reason": finished.stop_reason,
            "turns": finished.turns,
        }
    )


async def _messages_after(
    scope: OrganisationScope, answer: GroupAnswer, first: PostedMessage | None
) -> tuple[Message, ...]:
    if first is None:
        return ()
    return tuple(await read_messages(scope.database, answer.conversation_id, after_seq=first.seq, limit=_MAX_MESSAGES))

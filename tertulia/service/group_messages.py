"""Talking with a group as if it were one: a message, and all that the group says to it.

Law: a message with the same id is said once, and answered each time with what came of it.
"""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress

from tertulia.client.client import Tertulia
from tertulia.core.commands import PostMessage
from tertulia.core.errors import ConversationClosed, NotFound, Unavailable
from tertulia.core.group import Group
from tertulia.core.ids import ConversationId, GroupId, OrganisationId
from tertulia.core.records import GroupAnswer
from tertulia.service.conversation_start import post_or_start, refuse_empty
from tertulia.store.default_conversations import claim_conversation, put_aside
from tertulia.store.groups import find_group
from tertulia.store.notifications import Listener
from tertulia.store.rounds import outcome_of
from tertulia.store.transcript import Message, PostedMessage, find_posted, read_messages

_LOOK_SECONDS = 30.0
"""How long to sleep at most before looking whether the round has ended: news of it come at once."""
_TRIES = 5
_MAX_MESSAGES = 1_000


async def say_to_group(
    client: Tertulia,
    organisation_id: OrganisationId,
    group_id: GroupId,
    messages: Sequence[PostMessage],
    *,
    idempotency_key: str | None = None,
) -> GroupAnswer:
    """Say something to a group; what came of it is not known yet.

    Raises:
        NotFound: no such group.
        CommandRefused: the group is empty, or a message cannot be posted.
        Unavailable: nobody answers; the same with the same key is safe.
    """
    client = client.within(organisation_id)
    group = await find_group(client.database, organisation_id, group_id)
    refuse_empty(group)
    key = idempotency_key or str(uuid.uuid4())
    posts = [
        post.model_copy(update={"command_id": post.command_id or (f"{key}:{number}" if number else key)})
        for number, post in enumerate(messages)
    ]
    conversation_id = await _said(client, group, posts)
    return GroupAnswer(
        conversation_id=conversation_id,
        rules=group.manager_config,
        message_ids=tuple(str(post.command_id) for post in posts),
    )


async def until_answered(client: Tertulia, listener: Listener, accepted: GroupAnswer) -> GroupAnswer:
    """What came of a message to a group, once the round of the last one is over, or the conversation is closed or
    paused: nobody knows how long a pause lasts."""
    with listener.subscribe(accepted.conversation_id, phases_only=True) as news:
        while (ended := await _ended(client, accepted)) is None:
            news.unsure = False
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await news.wait()
    return ended


async def reset_group(client: Tertulia, organisation_id: OrganisationId, group_id: GroupId) -> None:
    """Let the next message to the group begin a new conversation, and close the present one.

    Raises:
        NotFound: no such group.
    """
    client = client.within(organisation_id)
    before = await put_aside(client.database, organisation_id, group_id)
    if before is not None:
        # One that was claimed but never begun has nothing that could be closed.
        with suppress(ConversationClosed, NotFound):
            await client.stop(before, "the group was reset", command_id=f"{before}:reset")


async def _said(client: Tertulia, group: Group, posts: Sequence[PostMessage]) -> ConversationId:
    """Post the messages, in the conversation that takes the first of them."""
    closed: ConversationId | None = None
    for _ in range(_TRIES):
        conversation_id = await claim_conversation(
            client.database,
            client.organisation_id,
            group.id,
            ConversationId(f"conversation-{uuid.uuid4()}"),
            message_id=str(posts[0].command_id),
            closed=closed,
        )
        try:
            for post in posts:
                if await find_posted(client.database, conversation_id, str(post.command_id)) is None:
                    await post_or_start(client, group, conversation_id, post)
        except ConversationClosed:
            closed = conversation_id
        else:
            return conversation_id
    raise Unavailable("the group's conversation closes again and again; try again with the same key")


async def _ended(client: Tertulia, answer: GroupAnswer) -> GroupAnswer | None:
    database, conversation_id = client.database, answer.conversation_id
    outcome = await outcome_of(database, conversation_id, answer.message_ids[-1])
    finished = outcome.finished
    if finished is None and outcome.phase not in ("closed", "paused"):
        return None
    said = await _said_after(client, answer, await find_posted(database, conversation_id, answer.message_ids[0]))
    if finished is None:
        reason = outcome.stop_reason if outcome.phase == "closed" else "paused"
        return answer.model_copy(update={"messages": said, "stop_reason": reason})
    return answer.model_copy(
        update={
            "messages": tuple(message for message in said if message.seq <= finished.seq),
            "usage": finished.usage,
            "stop_reason": finished.stop_reason,
            "turns": finished.turns,
        }
    )


async def _said_after(client: Tertulia, answer: GroupAnswer, first: PostedMessage | None) -> tuple[Message, ...]:
    if first is None:
        return ()
    return tuple(await read_messages(client.database, answer.conversation_id, after_seq=first.seq, limit=_MAX_MESSAGES))

"""A change of a group reaches every running conversation, even if all that carry it out are killed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from chaos.killable_stack import KillableStack, retry_while_unavailable, wait_until
from tertulia.activities.failpoints import FAILPOINTS_ENV, Failpoint
from tertulia.core.ids import ConversationId
from tertulia.core.records import FinishedTurn, MembershipChange
from tertulia.core.status import ConversationStatus
from tertulia.store.tables import conversations, members, membership_changes
from tertulia.testing import DirectClient, eventually, open_stack
from tests.harness.api_server import bearer, make_key
from tests.system.group_change_stack import (
    TIMEOUT_SECONDS,
    GroupChangeStack,
    GroupConversations,
    create_group_conversations,
    wait_until_all,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CONVERSATIONS = 30
WITHIN_SECONDS = 60
"""Limit from the kill until the change has reached every conversation."""


@pytest.fixture(scope="module")
async def change_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GroupChangeStack]:
    """Two workers and an API, each a process."""
    failpoints: Path = tmp_path_factory.mktemp("failpoints")
    data = tmp_path_factory.mktemp("stack") / "data"
    async with (
        open_stack(data, workers=2, with_api=True, settings={FAILPOINTS_ENV: str(failpoints)}) as stack,
        DirectClient.open(stack.configuration) as client,
    ):
        key = await make_key(client.scope.database, "operate")
        assert stack.addresses.api_url
        async with httpx2.AsyncClient(
            base_url=stack.addresses.api_url, headers=bearer(key.secret), timeout=TIMEOUT_SECONDS
        ) as api:
            yield GroupChangeStack(KillableStack(stack, client, failpoints), api)


async def _changed_count(change_stack: GroupChangeStack, group_conversations: GroupConversations) -> int:
    """Return the number of conversations whose roster has changed."""
    changed = func.count(membership_changes.c.conversation_id.distinct())
    return await change_stack.count(
        select(changed).where(membership_changes.c.conversation_id.in_(group_conversations.conversation_ids))
    )


async def _wait_for_failpoint(change_stack: GroupChangeStack, failpoint: Failpoint) -> None:
    async def is_hit() -> bool:
        return change_stack.killable.is_hit(failpoint)

    await eventually(is_hit, bool, seconds=WITHIN_SECONDS)


async def _wait_until_removed(
    change_stack: GroupChangeStack, conversation_ids: list[ConversationId], agent_id: str
) -> None:
    """Wait until the agent is in no conversation, by the database and by each status."""
    began = time.monotonic()
    here = select(func.count()).where(
        members.c.conversation_id.in_(conversation_ids), members.c.agent_id == agent_id, members.c.state != "removed"
    )
    await wait_until(lambda: change_stack.count(here), lambda number: number == 0, WITHIN_SECONDS)
    print(f"{len(conversation_ids)} conversations without the agent after {time.monotonic() - began:.1f} s")
    for conversation_id in conversation_ids:
        await wait_until(
            _status(change_stack, conversation_id), lambda status: agent_id not in _present(status), WITHIN_SECONDS
        )


def _status(
    change_stack: GroupChangeStack, conversation_id: ConversationId
) -> Callable[[], Awaitable[ConversationStatus]]:
    return lambda: change_stack.client.conversations.handle(conversation_id).status(live=True)


def _present(status: ConversationStatus) -> list[str]:
    return [member.agent_id for member in status.roster.members]


async def _removal(change_stack: GroupChangeStack, conversation_id: ConversationId, agent_id: str) -> MembershipChange:
    """Return the only change of the conversation's roster: the removal of the agent."""
    (change,) = await change_stack.client.conversations.handle(conversation_id).members.changes()
    member = change.detail["member"]
    assert isinstance(member, dict)
    assert (change.kind, member["agent_id"]) == ("remove", agent_id)
    return change


async def _check_speakers(change_stack: GroupChangeStack, group_conversations: GroupConversations) -> None:
    """Check that all members but the removed one keep speaking."""
    for conversation_id in group_conversations.idle:
        await change_stack.client.conversations.handle(conversation_id).post("Is somebody missing?")
    await wait_until_all(
        change_stack,
        group_conversations.conversation_ids,
        (conversations.c.phase == "ready") & (conversations.c.last_turn > 3),
    )
    for conversation_id in group_conversations.conversation_ids:
        removal = await _removal(change_stack, conversation_id, group_conversations.removed_agent_id)
        turns = [turn async for turn in change_stack.client.conversations.handle(conversation_id).turns()]
        assert group_conversations.removed_agent_id in _speakers(turns[: removal.after_turn])
        assert _speakers(turns[removal.after_turn :]) == {*group_conversations.remaining_agent_ids}
        assert [turn.turn for turn in turns] == list(range(1, len(turns) + 1))


def _speakers(turns: list[FinishedTurn]) -> set[str]:
    return {turn.speaker_id for turn in turns}


async def _check_change(
    change_stack: GroupChangeStack, group_conversations: GroupConversations, patch: dict[str, Any]
) -> None:
    """Check that the change was made once, reached every conversation once, and left no work."""
    await _wait_until_removed(change_stack, group_conversations.conversation_ids, group_conversations.removed_agent_id)
    for conversation_id in group_conversations.conversation_ids:
        assert (
            _present(await retry_while_unavailable(_status(change_stack, conversation_id)))
            == group_conversations.remaining_agent_ids
        )
        assert (
            await _removal(change_stack, conversation_id, group_conversations.removed_agent_id)
        ).command_id.startswith("auto:group-2-")
    group = (await change_stack.request_until_answered("GET", group_conversations.path)).json()
    assert (group["revision"], group["agent_ids"]) == (2, group_conversations.remaining_agent_ids)
    late = await change_stack.request_until_answered(
        "PATCH", group_conversations.path, json=patch, headers={"If-Match": "1"}
    )
    assert late.status_code == 409
    assert "revision 2 now, not 1" in late.json()["detail"]
    await _check_speakers(change_stack, group_conversations)
    await eventually(
        lambda: _running_changes(change_stack), lambda number: number == 0, seconds=WITHIN_SECONDS, interval_seconds=0.2
    )


async def _running_changes(change_stack: GroupChangeStack) -> int:
    query = 'WorkflowType="GroupChange" and ExecutionStatus="Running"'
    return (await change_stack.client.scope.temporal.count_workflows(query)).count


async def test_group_change_kill_before_report(change_stack: GroupChangeStack) -> None:
    """The caller has no answer and no conversation was notified; a stored change is delivered anyway."""
    group_conversations = await create_group_conversations(change_stack, CONVERSATIONS)
    patch = {"agent_ids": group_conversations.remaining_agent_ids}
    change_stack.killable.arm(Failpoint.AFTER_GROUP_CHANGE_COMMIT)
    asking = asyncio.create_task(
        change_stack.api.patch(group_conversations.path, json=patch, headers={"If-Match": "1"})
    )
    await _wait_for_failpoint(change_stack, Failpoint.AFTER_GROUP_CHANGE_COMMIT)
    assert await _changed_count(change_stack, group_conversations) == 0
    assert not asking.done()
    await change_stack.kill_workers_and_api()
    change_stack.killable.release()
    with pytest.raises(httpx2.TransportError):
        await asking
    await _check_change(change_stack, group_conversations, patch)


async def test_group_change_kill_during_delivery(change_stack: GroupChangeStack) -> None:
    """Some conversations were notified and some were not; the others get no second change."""
    group_conversations = await create_group_conversations(change_stack, CONVERSATIONS)
    patch = {"agent_ids": group_conversations.remaining_agent_ids}
    change_stack.killable.arm(Failpoint.BEFORE_NOTIFICATION)
    answer = await change_stack.api.patch(group_conversations.path, json=patch)
    assert (answer.status_code, answer.json()["revision"]) == (200, 2)
    await _wait_for_failpoint(change_stack, Failpoint.BEFORE_NOTIFICATION)
    told = await wait_until(
        lambda: _changed_count(change_stack, group_conversations), lambda number: number > 0, TIMEOUT_SECONDS
    )
    assert told < CONVERSATIONS
    await change_stack.kill_workers_and_api()
    change_stack.killable.release()
    await _check_change(change_stack, group_conversations, patch)


async def test_forced_agent_deletion_removes_member(change_stack: GroupChangeStack) -> None:
    """Members of its groups, and members that an operator added."""
    group_conversations = await create_group_conversations(change_stack, conversation_ids=6)
    (host,) = await change_stack.agents("Dora")
    others = (await change_stack.create("/v1/groups/", agent_ids=[host]))["id"]
    guest_conversation = await _conversation_with_guest(change_stack, others, group_conversations.removed_agent_id)
    assert (await change_stack.api.delete(f"/v1/agents/{group_conversations.removed_agent_id}")).status_code == 409
    await _delete_by_force(change_stack, group_conversations.removed_agent_id)
    await _wait_until_removed(
        change_stack, [*group_conversations.conversation_ids, guest_conversation], group_conversations.removed_agent_id
    )
    assert [
        change.kind for change in await change_stack.client.conversations.handle(guest_conversation).members.changes()
    ] == [
        "add",
        "remove",
    ]
    await _check_speakers(change_stack, group_conversations)


async def test_forced_agent_deletion_of_guest_manager(change_stack: GroupChangeStack) -> None:
    """The conversation is notified twice: of the changed group and of the deleted agent."""
    lead, host, guest = await change_stack.agents("Lead", "Dora", "Emil")
    rules = {"manager_type": "dynamic", "manager_agent_id": lead}
    led = (await change_stack.create("/v1/groups/", agent_ids=[host], manager_config=rules))["id"]
    guest_conversation = await _conversation_with_guest(change_stack, led, guest)
    patched = await change_stack.api.patch(
        f"/v1/groups/{led}", json={"manager_config": {"fallback_manager_ids": [guest]}}
    )
    assert patched.status_code == 200, patched.text
    await _delete_by_force(change_stack, guest)
    await _wait_until_removed(change_stack, [guest_conversation], guest)


async def _conversation_with_guest(change_stack: GroupChangeStack, group_id: str, guest: str) -> ConversationId:
    """Start a conversation to which an operator adds the guest."""
    conversation_id = (await change_stack.client.conversations.create(group_id, "Who comes to see us?")).id
    await change_stack.client.conversations.handle(conversation_id).members.add(guest)
    await wait_until(_status(change_stack, conversation_id), lambda status: guest in _present(status), TIMEOUT_SECONDS)
    return conversation_id


async def _delete_by_force(change_stack: GroupChangeStack, agent_id: str) -> None:
    deleted = await change_stack.api.delete(f"/v1/agents/{agent_id}", params={"force": True})
    assert deleted.status_code == 200, deleted.text
    assert (await change_stack.api.get(f"/v1/agents/{agent_id}")).status_code == 404

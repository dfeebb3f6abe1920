"""A change of a group reaches every conversation that runs, also when all who carry it out are killed on the way."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from chaos.house import House, persist, until
from tertulia.activities.failpoints import FAILPOINTS_ENV, Failpoint
from tertulia.core.ids import ConversationId
from tertulia.core.records import FinishedTurn, MembershipChange
from tertulia.core.status import ConversationStatus
from tertulia.devstack.stack import Stack, StackOptions
from tertulia.store.migrate import upgrade_async
from tertulia.store.tables import conversations, members, membership_changes
from tertulia.testing import DirectClient
from tests.conftest import clean_environment
from tests.eventually import eventually
from tests.system.api import bearer, make_key
from tests.system.hall import PATIENCE, Gathering, Hall, gathered, until_all

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TALKS = 30
WITHIN_SECONDS = 60
"""From the kill until the change has reached every conversation."""


@pytest.fixture(scope="module")
async def hall(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hall]:
    """Two workers and an API, each a process of its own."""

    async def migrate(stack: Stack) -> None:
        await upgrade_async(stack.configuration.database_url)

    failpoints: Path = tmp_path_factory.mktemp("failpoints")
    options = StackOptions(
        data=tmp_path_factory.mktemp("hall") / "data",
        temporal_port=0,
        ui_port=None,
        model_port=0,
        api_port=0,
        workers=2,
        environment={**clean_environment(), FAILPOINTS_ENV: str(failpoints)},
    )
    async with Stack(options, prepare=migrate) as stack, DirectClient.open(stack.configuration) as client:
        key = await make_key(client.scope.database, "operate")
        assert stack.addresses.api_url
        async with httpx2.AsyncClient(
            base_url=stack.addresses.api_url, headers=bearer(key.secret), timeout=PATIENCE
        ) as api:
            yield Hall(House(stack, client, failpoints), api)


async def _told(hall: Hall, gathering: Gathering) -> int:
    """In how many of the conversations the roster has changed."""
    changed = func.count(membership_changes.c.conversation_id.distinct())
    return await hall.count(select(changed).where(membership_changes.c.conversation_id.in_(gathering.talks)))


async def _hit(hall: Hall, failpoint: Failpoint) -> None:
    async def is_hit() -> bool:
        return hall.house.is_hit(failpoint)

    await eventually(is_hit, bool, seconds=WITHIN_SECONDS)


async def _until_left(hall: Hall, talks: list[ConversationId], agent_id: str) -> None:
    """Until the agent is in none of the conversations, by the database and by what each says of itself."""
    began = time.monotonic()
    here = select(func.count()).where(
        members.c.conversation_id.in_(talks), members.c.agent_id == agent_id, members.c.state != "removed"
    )
    await until(lambda: hall.count(here), lambda number: number == 0, WITHIN_SECONDS)
    print(f"{len(talks)} conversations without the agent after {time.monotonic() - began:.1f} s")
    for talk in talks:
        await until(_status(hall, talk), lambda status: agent_id not in _present(status), WITHIN_SECONDS)


def _status(hall: Hall, talk: ConversationId) -> Callable[[], Awaitable[ConversationStatus]]:
    return lambda: hall.client.conversations.handle(talk).status(live=True)


def _present(status: ConversationStatus) -> list[str]:
    return [member.agent_id for member in status.roster.members]


async def _removal(hall: Hall, talk: ConversationId, agent_id: str) -> MembershipChange:
    """The only change of the conversation's roster: that the agent was removed."""
    (change,) = await hall.client.conversations.handle(talk).members.changes()
    member = change.detail["member"]
    assert isinstance(member, dict)
    assert (change.kind, member["agent_id"]) == ("remove", agent_id)
    return change


async def _check_silence(hall: Hall, gathering: Gathering) -> None:
    """Everybody talks on, but the one who has left."""
    for talk in gathering.idle:
        await hall.client.conversations.handle(talk).post("Is somebody missing?")
    await until_all(hall, gathering.talks, (conversations.c.phase == "ready") & (conversations.c.last_turn > 3))
    for talk in gathering.talks:
        removal = await _removal(hall, talk, gathering.leaver)
        turns = [turn async for turn in hall.client.conversations.handle(talk).turns()]
        assert gathering.leaver in _speakers(turns[: removal.after_turn])
        assert _speakers(turns[removal.after_turn :]) == {*gathering.staying}
        assert [turn.turn for turn in turns] == list(range(1, len(turns) + 1))


def _speakers(turns: list[FinishedTurn]) -> set[str]:
    return {turn.speaker_id for turn in turns}


async def _check_change(hall: Hall, gathering: Gathering, patch: dict[str, Any]) -> None:
    """It was made once, it reached everyone once, and nothing of it is left to do."""
    await _until_left(hall, gathering.talks, gathering.leaver)
    for talk in gathering.talks:
        assert _present(await persist(_status(hall, talk))) == gathering.staying
        assert (await _removal(hall, talk, gathering.leaver)).command_id.startswith("auto:group-2-")
    group = (await hall.asked("GET", gathering.path)).json()
    assert (group["revision"], group["agent_ids"]) == (2, gathering.staying)
    late = await hall.asked("PATCH", gathering.path, json=patch, headers={"If-Match": "1"})
    assert late.status_code == 409
    assert "revision 2 now, not 1" in late.json()["detail"]
    await _check_silence(hall, gathering)
    await eventually(lambda: _running_changes(hall), lambda number: number == 0, seconds=WITHIN_SECONDS, every=0.2)


async def _running_changes(hall: Hall) -> int:
    query = 'WorkflowType="GroupChange" and ExecutionStatus="Running"'
    return (await hall.client.scope.temporal.count_workflows(query)).count


async def test_all_are_killed_between_the_write_and_its_report(hall: Hall) -> None:
    """Whoever asked has no answer, and nobody has been told anything: what is written is told all the same."""
    gathering = await gathered(hall, TALKS)
    patch = {"agent_ids": gathering.staying}
    hall.house.arm(Failpoint.AFTER_GROUP_CHANGE_COMMIT)
    asking = asyncio.create_task(hall.api.patch(gathering.path, json=patch, headers={"If-Match": "1"}))
    await _hit(hall, Failpoint.AFTER_GROUP_CHANGE_COMMIT)
    assert await _told(hall, gathering) == 0
    assert not asking.done()
    await hall.kill_workers_and_api()
    hall.house.release()
    with pytest.raises(httpx2.TransportError):
        await asking
    await _check_change(hall, gathering, patch)


async def test_all_are_killed_while_the_conversations_are_told(hall: Hall) -> None:
    """Some have been told and some have not: those are, and the others are not told anything new."""
    gathering = await gathered(hall, TALKS)
    patch = {"agent_ids": gathering.staying}
    hall.house.arm(Failpoint.BEFORE_NOTIFICATION)
    answer = await hall.api.patch(gathering.path, json=patch)
    assert (answer.status_code, answer.json()["revision"]) == (200, 2)
    await _hit(hall, Failpoint.BEFORE_NOTIFICATION)
    told = await until(lambda: _told(hall, gathering), lambda number: number > 0, PATIENCE)
    assert told < TALKS
    await hall.kill_workers_and_api()
    hall.house.release()
    await _check_change(hall, gathering, patch)


async def test_an_agent_deleted_by_force_leaves_every_conversation_that_runs(hall: Hall) -> None:
    """Those of its group, and those to which an operator has added it."""
    gathering = await gathered(hall, talks=6)
    (host,) = await hall.agents("Dora")
    others = (await hall.made("/v1/groups/", agent_ids=[host]))["id"]
    visited = await _visited(hall, others, gathering.leaver)
    assert (await hall.api.delete(f"/v1/agents/{gathering.leaver}")).status_code == 409
    await _delete_by_force(hall, gathering.leaver)
    await _until_left(hall, [*gathering.talks, visited], gathering.leaver)
    assert [change.kind for change in await hall.client.conversations.handle(visited).members.changes()] == [
        "add",
        "remove",
    ]
    await _check_silence(hall, gathering)


async def test_an_agent_deleted_by_force_leaves_also_where_it_takes_part_in_what_it_may_manage(hall: Hall) -> None:
    """Its conversation is told twice: that the group has changed, and that the agent is gone."""
    lead, host, guest = await hall.agents("Lead", "Dora", "Emil")
    rules = {"manager_type": "dynamic", "manager_agent_id": lead}
    led = (await hall.made("/v1/groups/", agent_ids=[host], manager_config=rules))["id"]
    visited = await _visited(hall, led, guest)
    patched = await hall.api.patch(f"/v1/groups/{led}", json={"manager_config": {"fallback_manager_ids": [guest]}})
    assert patched.status_code == 200, patched.text
    await _delete_by_force(hall, guest)
    await _until_left(hall, [visited], guest)


async def _visited(hall: Hall, group_id: str, guest: str) -> ConversationId:
    """A conversation of the group, to which an operator has added the guest."""
    talk = (await hall.client.conversations.create(group_id, "Who comes to see us?")).id
    await hall.client.conversations.handle(talk).members.add(guest)
    await until(_status(hall, talk), lambda status: guest in _present(status), PATIENCE)
    return talk


async def _delete_by_force(hall: Hall, agent_id: str) -> None:
    deleted = await hall.api.delete(f"/v1/agents/{agent_id}", params={"force": True})
    assert deleted.status_code == 200, deleted.text
    assert (await hall.api.get(f"/v1/agents/{agent_id}")).status_code == 404

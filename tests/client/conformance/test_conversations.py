"""`Tertulia.conversations` on every backend."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tertulia import CommandRefused, Conflict, IdTaken, InvalidDefinition, NotFound
from tertulia.core.ids import ConversationId
from tertulia.store.conversations import reserve_conversation
from tertulia.testing import eventually
from tests.client.conformance.conftest import Pair, Servers, new_id


async def test_create_conversation(pair: Pair) -> None:
    group = (await pair.group("Zoë", "三郎")).group
    talk = await pair.client.conversations.create("TABLE", "Hallo ☕\n\u2028e\u0301", sender="Günther")
    assert talk.id.startswith("table-")
    await talk.wait_for_round(timeout_seconds=30)
    row = await pair.same(lambda client: client.conversations.handle(talk.id).retrieve())
    assert (row.group_id, row.group, row.organisation_id) == (group.id, "Table", pair.organisation)
    assert (row.last_turn, row.phase, row.stop_reason) == (2, "ready", "max_turns")
    first = await anext(talk.transcript())
    assert (first.sender, first.text, first.role) == ("Günther", "Hallo ☕\n\u2028e\u0301", "user")


async def test_conversation_id_counts_once(pair: Pair) -> None:
    group = (await pair.group("Ana")).group
    conversation_id = new_id("talk")
    talk = await pair.client.conversations.create(group.id, "Hello.", id=conversation_id)
    assert talk.id == conversation_id
    taken = await pair.same_error(lambda client: client.conversations.create(group.id, "Hello.", id=conversation_id))
    assert isinstance(taken, IdTaken)
    other = (await pair.client.groups.create(name="Other", agent_ids=group.agent_ids)).group
    taken = await pair.same_error(lambda client: client.conversations.create(other.id, "Hello.", id=conversation_id))
    assert isinstance(taken, IdTaken)


async def test_invalid_conversations_are_refused_alike(pair: Pair) -> None:
    group = (await pair.group("Ana")).group
    empty = (await pair.client.groups.create(name="Empty")).group
    cases: list[tuple[type[Exception], tuple[str, str], dict[str, Any]]] = [
        (NotFound, ("nobody", "Hello."), {}),
        (CommandRefused, (empty.id, "Hello."), {}),
        (CommandRefused, (group.id, ""), {}),
        (CommandRefused, (group.id, "  "), {}),
        (CommandRefused, (group.id, "Hello."), {"sender": "a:b"}),
        (CommandRefused, (group.id, "a\0b"), {}),
        (InvalidDefinition, (group.id, "Hello."), {"id": "no blanks"}),
        (InvalidDefinition, (group.id, "Hello."), {"continue_as_new_after_turns": 0}),
    ]
    for kind, (group_id, text), options in cases:

        async def create(client: Any, group_id: str = group_id, text: str = text, options: Any = options) -> None:
            await client.conversations.create(group_id, text, **options)

        assert type(await pair.same_error(create)) is kind, (group_id, text, options)


async def test_close_after_round(pair: Pair) -> None:
    group = (await pair.group("Ana")).group
    talk = await pair.client.conversations.create(
        group.id, "Hello.", close_after_round=True, continue_as_new_after_turns=5
    )
    async for _ in talk.events():
        pass
    status = await pair.same(lambda client: client.conversations.handle(talk.id).status())
    assert status.phase == "closed"
    assert await pair.same(lambda client: client.conversations.handle(talk.id).status(live=True)) == status


async def test_find_conversation_by_prefix(pair: Pair) -> None:
    group = (await pair.group("Ana")).group
    prefix = new_id("p")
    ids = [f"{prefix}-one", f"{prefix}-one-more", f"{prefix}-two"]
    for conversation_id in ids:
        await pair.client.conversations.create(group.id, "Hello.", id=conversation_id)
    for text, found in ((ids[0], ids[0]), (f"{prefix}-one-", ids[1]), (f"{prefix}-t", ids[2])):

        async def find(client: Any, text: str = text) -> str:
            return str((await client.conversations.find(text)).id)

        assert await pair.same(find) == found
    ambiguous = await pair.same_error(lambda client: client.conversations.find(prefix))
    assert type(ambiguous) is CommandRefused and all(one in str(ambiguous) for one in ids)
    for text in ("", "%", f"{prefix}_", f"{prefix}-three", prefix.upper()):
        error = await pair.same_error(lambda client, text=text: client.conversations.find(text), same_text=False)  # type: ignore[misc]
        assert isinstance(error, NotFound)
    too_long = await pair.same_error(lambda client: client.conversations.find("x" * 200), same_text=False)
    assert isinstance(too_long, InvalidDefinition)


async def test_list_and_count_with_filters(pair: Pair) -> None:
    before = datetime.now(UTC)
    table = (await pair.group("Ana", "Ben")).group
    solo = (await pair.client.groups.create(name="Solo ü", agent_ids=table.agent_ids[:1])).group
    first = await pair.client.conversations.create(table.id, "Hello.")
    second = await pair.client.conversations.create(solo.id, "Hello.")
    for talk in (first, second):
        await talk.wait_for_round(timeout_seconds=30)
    await second.pause()
    await eventually(second.retrieve, lambda row: row.phase == "paused")
    middle = (await second.retrieve()).created_at
    later = middle + timedelta(days=1)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, [second.id, first.id]),
        ({"order": "asc"}, [first.id, second.id]),
        ({"group": table.id}, [first.id]),
        ({"group": "solo Ü"}, [second.id]),
        ({"group": "nobody"}, []),
        ({"phase": "closed"}, []),
        ({"phase": "paused"}, [second.id]),
        ({"member": "ben"}, [first.id]),
        ({"member": table.agent_ids[0]}, [second.id, first.id]),
        ({"created_after": middle}, [second.id]),
        ({"created_before": middle}, [first.id]),
        ({"created_after": before.astimezone(), "created_before": later}, [second.id, first.id]),
        ({"limit": 1}, [second.id]),
    ]
    for filter, ids in cases:

        async def listed(client: Any, filter: Any = filter) -> Any:
            return await client.conversations.list(**filter)

        assert [row.conversation_id for row in await pair.same(listed)] == ids, filter
        if not filter.keys() & {"order", "limit"}:
            counted = await pair.same(lambda client, filter=filter: client.conversations.count(**filter))  # type: ignore[misc]
            assert counted == len(ids)
    for invalid in ({"phase": "asleep"}, {"created_after": middle.replace(tzinfo=None)}, {"group": "x" * 200}):
        error = await pair.same_error(lambda client, filter=invalid: client.conversations.list(**filter))  # type: ignore[misc]
        assert isinstance(error, InvalidDefinition)


async def test_list_conversations_past_one_page(pair: Pair, servers: Servers) -> None:
    group = (await pair.group("Ana")).group
    prefix = new_id("many")
    for number in range(205):
        conversation_id = ConversationId(f"{prefix}-{number:03}")
        await reserve_conversation(servers.database, pair.organisation, conversation_id, group.id)
    rows = await pair.same(lambda client: client.conversations.list(order="asc"))
    assert len({row.conversation_id for row in rows}) == len(rows) == 205
    newest = await pair.same(lambda client: client.conversations.list(limit=201))
    assert newest == rows[:3:-1]
    assert await pair.same(lambda client: client.conversations.count()) == 205


async def test_delete_conversation(pair: Pair) -> None:
    talk = await pair.start("Ana")
    assert isinstance(await pair.same_error(lambda client: client.conversations.delete(talk.id)), Conflict)
    await talk.stop()
    async for _ in talk.events():
        pass
    await pair.client.conversations.delete(talk.id)
    for call in (
        lambda client: client.conversations.retrieve(talk.id),
        lambda client: client.conversations.delete(talk.id),
        lambda client: client.conversations.handle(talk.id).status(),
        lambda client: client.conversations.handle(talk.id).post("Hello?"),
    ):
        assert isinstance(await pair.same_error(call), NotFound)


async def test_update_conversation_settings(pair: Pair) -> None:
    talk = await pair.start("Ana", "Ben")
    updated = await pair.client.conversations.update(talk.id, max_turns=1)
    await updated.post("Again?")
    await updated.wait_for_round(timeout_seconds=30)
    assert (await pair.same(lambda client: client.conversations.handle(talk.id).status())).turn == 3
    error = await pair.same_error(lambda client: client.conversations.update(talk.id, nonsense=1))
    assert type(error) is CommandRefused


async def test_fork_conversation(pair: Pair) -> None:
    talk = await pair.start("Ana", "Ben")
    (cleo,) = await pair.agents("Cleo")
    fork_id = new_id("fork")
    fork = await talk.fork(
        turn=1, agent_ids=[cleo.id], model="offline-other", message="Und jetzt? ☕", sender="Zoë", id=fork_id
    )
    await fork.wait_for_round(timeout_seconds=30)
    row = await pair.same(lambda client: client.conversations.handle(fork_id).retrieve())
    assert (row.forked_from, row.forked_turn) == (talk.id, 1)
    messages = [message async for message in fork.transcript()]
    assert [one.sender for one in messages] == ["User", "Ana", "Zoë", "Cleo"]
    assert [turn.model async for turn in fork.turns()][-1] == "offline-other"
    silent = await talk.fork()
    assert (await silent.wait_for_round(timeout_seconds=30)).turn == 2
    for kind, options in (
        (InvalidDefinition, {"turn": 9}),
        (InvalidDefinition, {"turn": -1}),
        (NotFound, {"agent_ids": ["nobody"]}),
        (IdTaken, {"id": fork_id}),
    ):

        async def refuse(client: Any, options: Any = options) -> None:
            await client.conversations.handle(talk.id).fork(**options)

        assert type(await pair.same_error(refuse)) is kind, options


@pytest.mark.parametrize("conversation_id", ["nobody", "no blanks", "a/b", "count", "..", "é", ""])
async def test_unknown_conversation_is_not_found(pair: Pair, conversation_id: str) -> None:
    async def read_events(client: Any) -> None:
        async with asyncio.timeout(20):
            async for _ in client.conversations.handle(conversation_id).events():
                pass

    async def read_transcript(client: Any) -> None:
        async for _ in client.conversations.handle(conversation_id).transcript():
            pass

    async def read_turns(client: Any) -> None:
        async for _ in client.conversations.handle(conversation_id).turns():
            pass

    for call in (
        read_events,
        read_transcript,
        read_turns,
        lambda client: client.conversations.retrieve(conversation_id),
        lambda client: client.conversations.delete(conversation_id),
        lambda client: client.conversations.handle(conversation_id).status(),
        lambda client: client.conversations.handle(conversation_id).status_at(),
        lambda client: client.conversations.handle(conversation_id).recent_turns(),
        lambda client: client.conversations.handle(conversation_id).event_cursor(last=0),
        lambda client: client.conversations.handle(conversation_id).wait_for_round(),
        lambda client: client.conversations.handle(conversation_id).fork(),
        lambda client: client.conversations.handle(conversation_id).post("Hello."),
        lambda client: client.conversations.handle(conversation_id).stop(),
        lambda client: client.conversations.handle(conversation_id).members.list(),
        lambda client: client.conversations.handle(conversation_id).members.changes(),
        lambda client: client.conversations.handle(conversation_id).members.add("Ana"),
    ):
        assert isinstance(await pair.same_error(call, same_text=False), NotFound)

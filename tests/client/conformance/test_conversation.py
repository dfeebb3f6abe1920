"""A handle of one conversation on every backend: commands, reads, waiting."""

import asyncio

import pytest
from sqlalchemy import text

from tertulia import CommandRefused, ConversationClosed, FinishedTurn, Message, Tertulia
from tertulia.testing import eventually
from tests.client.conformance.conftest import Pair, Servers


async def messages_of(client: Tertulia, conversation_id: str, after_seq: int = 0) -> list[Message]:
    return [one async for one in client.conversations.handle(conversation_id).transcript(after_seq=after_seq)]


async def turns_of(client: Tertulia, conversation_id: str, after_turn: int = 0) -> list[FinishedTurn]:
    return [one async for one in client.conversations.handle(conversation_id).turns(after_turn=after_turn)]


async def test_reads_are_equal(pair: Pair) -> None:
    talk = await pair.start("Ana", "Ben", message="Grüße ☕\u2029\n")
    messages = await pair.same(lambda client: messages_of(client, talk.id))
    assert [one.seq for one in messages] == [1, 2, 3]
    assert await pair.same(lambda client: messages_of(client, talk.id, 2)) == messages[2:]
    turns = await pair.same(lambda client: turns_of(client, talk.id))
    assert [one.speaker for one in turns] == ["Ana", "Ben"]
    assert await pair.same(lambda client: turns_of(client, talk.id, 1)) == turns[1:]
    recent = await pair.same(lambda client: client.conversations.handle(talk.id).recent_turns())
    assert [one.turn for one in recent] == [1, 2]
    status = await pair.same(lambda client: client.conversations.handle(talk.id).status())
    assert (status.phase, status.turn, status.stop_reason) == ("ready", 2, "max_turns")
    at = await pair.same(lambda client: client.conversations.handle(talk.id).status_at())
    assert at.status == status and at.last_event > 0
    for last in (None, 0, 1, 2, 3, 99):
        await pair.same(lambda client, last=last: client.conversations.handle(talk.id).event_cursor(last=last))  # type: ignore[misc]


async def test_transcript_past_one_page(pair: Pair, servers: Servers) -> None:
    talk = await pair.start("Ana")
    more = text(
        "insert into messages (conversation_id, seq, turn, role, sender_id, sender, text, chars_before)"
        " select :id, number, null, 'user', null, 'User', 'm' || number, 0 from generate_series(3, 450) as number"
    )
    await servers.database.rows(more, {"id": talk.id})
    messages = await pair.same(lambda client: messages_of(client, talk.id))
    assert [one.seq for one in messages] == list(range(1, 451))
    first, *_ = await pair.same(lambda client: messages_of(client, talk.id, 249))
    assert first.seq == 250


async def test_command_id_counts_once(pair: Pair) -> None:
    talk = await pair.start("Ana")
    other = pair.other.conversations.handle(talk.id)
    first = await talk.post("Once ü.", sender="Zoë", message_id="ü☕ 1")
    assert await other.post("Once ü.", sender="Zoë", message_id="ü☕ 1") == first
    assert first.command_id == "ü☕ 1"
    await talk.wait_for_round(timeout_seconds=30)
    assert [one.text for one in await messages_of(pair.client, talk.id) if one.role == "user"][1:] == ["Once ü."]
    assert await talk.post("Another text has no effect.", message_id="ü☕ 1") == first
    generated = await talk.post("A third.")
    assert generated.command_id


@pytest.mark.parametrize(("message", "sender"), [("", "User"), ("Hello.", "a:b"), ("Hello.", "Ana"), ("a\0b", "User")])
async def test_invalid_post_is_refused_alike(pair: Pair, message: str, sender: str) -> None:
    talk = await pair.start("Ana")
    error = await pair.same_error(lambda client: client.conversations.handle(talk.id).post(message, sender=sender))
    assert type(error) is CommandRefused


async def test_pause_resume_and_stop(pair: Pair) -> None:
    talk = await pair.start("Ana")
    receipt = await talk.pause("Mittag ☕", command_id="pause-1")
    assert (receipt.command, receipt.command_id) == ("pause", "pause-1")
    await eventually(talk.status, lambda status: status.phase == "paused")
    assert (await talk.wait_for_round(timeout_seconds=30)).phase == "paused"
    paused = await pair.same(lambda client: client.conversations.handle(talk.id).status())
    assert paused.paused_because == "Mittag ☕"
    await talk.post("Anybody?")
    await talk.resume(command_id="resume-1")
    status = await talk.wait_for_round(timeout_seconds=30)
    assert (status.phase, status.turn) == ("ready", 2)
    await talk.stop("Ende")
    async for _ in talk.events():
        pass
    assert (await talk.wait_for_round(timeout_seconds=30)).phase == "closed"
    closed = await pair.same(lambda client: client.conversations.handle(talk.id).status())
    assert (closed.stop_reason, closed.stop_explanation) == ("operator_stop", "Ende")
    for call in (
        lambda client: client.conversations.handle(talk.id).post("Too late."),
        lambda client: client.conversations.handle(talk.id).pause(),
        lambda client: client.conversations.handle(talk.id).members.add("Ana"),
    ):
        assert type(await pair.same_error(call)) is ConversationClosed


async def test_wait_for_round_after_post(pair: Pair) -> None:
    talk = await pair.start("Ana")
    for number in range(2, 8):
        await talk.post(f"Message {number}.")
        status = await talk.wait_for_round(timeout_seconds=30)
        assert status.turn == number
        assert len(await messages_of(pair.client, talk.id)) == 2 * number


async def test_wait_for_round_of_new_conversation(pair: Pair) -> None:
    group = (await pair.group("Ana", "Ben")).group
    talks = await asyncio.gather(*(pair.client.conversations.create(group.id, "Hello.") for _ in range(5)))
    statuses = await asyncio.gather(*(talk.wait_for_round(timeout_seconds=30) for talk in talks))
    assert [status.turn for status in statuses] == [2] * 5


async def test_wait_for_round_times_out(pair: Pair) -> None:
    group = (await pair.group("Ana")).group
    talk = await pair.client.conversations.create(group.id, "Hello.")
    with pytest.raises(TimeoutError):
        await talk.wait_for_round(timeout_seconds=0.001)

"""The events of a conversation on every backend."""

import asyncio
from contextlib import aclosing

from tertulia import ConversationEvent, InvalidDefinition, LiveDelta, StreamEvent, Tertulia
from tests.client.conformance.conftest import Pair


async def events_of(client: Tertulia, conversation_id: str, after: int = 0) -> list[StreamEvent]:
    async with asyncio.timeout(30):
        return [one async for one in client.conversations.handle(conversation_id).events(after=after)]


async def test_events_until_the_end(pair: Pair) -> None:
    group = (await pair.group("Ana", "Ben")).group
    talk = await pair.client.conversations.create(group.id, "Grüße \u2028 ☕\r\n", close_after_round=True)
    live = await events_of(pair.client, talk.id)
    events = await pair.same(lambda client: events_of(client, talk.id))
    assert live == events
    numbers = [one.number for one in events if isinstance(one, ConversationEvent)]
    assert numbers == list(range(1, len(events) + 1))
    assert isinstance(events[-1], ConversationEvent) and events[-1].is_end
    for after in (1, 3, numbers[-1] - 1, numbers[-1]):
        rest = await pair.same(lambda client, after=after: events_of(client, talk.id, after))  # type: ignore[misc]
        assert rest == events[after:]


async def test_events_past_the_last_are_refused(pair: Pair) -> None:
    talk = await pair.start("Ana")
    error = await pair.same_error(lambda client: events_of(client, talk.id, 10_000))
    assert isinstance(error, InvalidDefinition)


async def test_events_resume_after_break(pair: Pair) -> None:
    talk = await pair.start("Ana", "Ben")
    seen: list[int] = []
    for _ in range(3):
        async with aclosing(talk.events(after=seen[-1] if seen else 0)) as events:
            async for event in events:
                assert isinstance(event, ConversationEvent)
                seen.append(event.number)
                if len(seen) % 2 == 0:
                    break
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_event_cursor_starts_at_last_messages(pair: Pair) -> None:
    talk = await pair.start("Ana", "Ben")
    after = await talk.event_cursor(last=1)
    async with asyncio.timeout(20), aclosing(talk.events(after=after)) as events:
        async for event in events:
            if isinstance(event, ConversationEvent) and event.kind == "message":
                assert event.data["seq"] == 3
                return


async def test_deltas_precede_their_message(pair: Pair) -> None:
    talk = await pair.start("Ana")
    after = (await talk.status_at()).last_event
    texts: dict[int, str] = {}
    async with asyncio.timeout(30), aclosing(talk.events(after=after, deltas=True)) as events:
        await talk.post("Tell me more.")
        async for event in events:
            if isinstance(event, LiveDelta):
                texts[event.turn] = texts.get(event.turn, "")[: event.offset] + event.text
            elif isinstance(event, ConversationEvent) and event.kind == "message" and event.data["turn"] is not None:
                assert str(event.data["text"]).startswith(texts.get(2, ""))
                return

"""Law of the transcript: append-only, numbered without gaps, each message once."""

import asyncio

from tertulia.core.context_window import ContextWindow, compute_window
from tertulia.store.transcript import read_messages, read_window, record_posts, text_of
from tests.store.salon import Salon, post


async def test_messages_are_recorded_in_their_order_from_one_on(salon: Salon) -> None:
    assert await salon.post(post("a"), post("b")) == 2
    assert await salon.post(post("c")) == 3
    assert [(one.seq, one.text, one.role, one.sender, one.sender_id, one.turn) for one in await salon.messages()] == [
        (1, "a", "user", "User", None, None),
        (2, "b", "user", "User", None, None),
        (3, "c", "user", "User", None, None),
    ]


async def test_a_message_id_is_recorded_once_across_calls_and_within_one(salon: Salon) -> None:
    one, other = post("a", "one"), post("b", "other")
    assert await salon.post(one) == 1
    assert await salon.post(one) == 1
    assert await salon.post(one, other, other) == 2
    assert [message.text for message in await salon.messages()] == ["a", "b"]
    await salon.say("next")
    assert [message.seq for message in await salon.messages()] == [1, 2, 3]


async def test_the_same_messages_from_several_connections_are_recorded_once(salon: Salon) -> None:
    posts = [post(str(number)) for number in range(5)]
    calls = (record_posts(salon.database, salon.conversation_id, posts) for _ in range(8))
    assert await asyncio.gather(*calls) == [5] * 8
    assert [message.text for message in await salon.messages()] == ["0", "1", "2", "3", "4"]


async def test_messages_from_several_connections_leave_no_gap(salon: Salon) -> None:
    calls = (record_posts(salon.database, salon.conversation_id, [post(str(number))]) for number in range(12))
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 13))
    assert [message.seq for message in await salon.messages()] == list(range(1, 13))


async def test_the_same_id_in_another_conversation_is_another_message(salon: Salon) -> None:
    from tests.store.salon import opened

    other = await opened(salon.database)
    assert await salon.post(post("a", "same")) == 1
    assert await other.post(post("b", "same")) == 1


async def test_characters_before_each_message_add_up(salon: Salon) -> None:
    await salon.post(post("four"), post("ünïcödé 𝄞"))
    await salon.say("twelve chars")
    await salon.post(post("end"))
    texts = [message.text for message in await salon.messages()]
    starts = [sum(map(len, texts[:index])) for index in range(len(texts))]
    for index, start in enumerate(starts):
        heard = await read_window(salon.database, salon.conversation_id, ContextWindow(0, start), len(texts))
        assert [one.text for one in heard] == texts[index:]
        later = await read_window(salon.database, salon.conversation_id, ContextWindow(0, start + 1), len(texts))
        assert [one.text for one in later] == texts[min(index + 1, len(texts) - 1) :]


async def test_a_window_holds_what_comes_after_its_beginning_up_to_the_turns_last_message(salon: Salon) -> None:
    await salon.post(*(post(f"{number:04}") for number in range(1, 101)))
    view = compute_window(90, 360, max_messages=10, max_tokens=10_000)
    heard = await read_window(salon.database, salon.conversation_id, view, 90)
    assert [int(one.text) for one in heard] == list(range(view.after_seq + 1, 91))
    by_chars = compute_window(100, 400, max_messages=1_000, max_tokens=20)
    assert len(await read_window(salon.database, salon.conversation_id, by_chars, 100)) == 20
    nothing_fits = await read_window(salon.database, salon.conversation_id, ContextWindow(0, 9_999), 100)
    assert [one.text for one in nothing_fits] == ["0100"], "the last message is always there"
    assert await read_window(salon.database, salon.conversation_id, ContextWindow(100, 0), 100) == []


async def test_a_window_tells_who_spoke(salon: Salon) -> None:
    await salon.post(post("a"))
    await salon.say("b", speaker=1)
    heard = await read_window(salon.database, salon.conversation_id, ContextWindow(0, 0), 2)
    assert [(one.sender_id, one.sender) for one in heard] == [
        (None, "User"),
        (salon.agents[1].id, salon.agents[1].name),
    ]


async def test_pages_join_without_gap_or_overlap(salon: Salon) -> None:
    await salon.post(*(post(str(number)) for number in range(25)))
    seqs, after = list[int](), 0
    while page := await read_messages(salon.database, salon.conversation_id, after_seq=after, limit=10):
        assert len(page) == min(10, 25 - after)
        seqs += [message.seq for message in page]
        after = page[-1].seq
    assert seqs == list(range(1, 26))


async def test_one_message_is_found_by_its_number(salon: Salon) -> None:
    await salon.post(post("a"), post("b"))
    assert await text_of(salon.database, salon.conversation_id, 2) == "b"
    assert await text_of(salon.database, salon.conversation_id, 3) == ""

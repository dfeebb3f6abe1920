"""Invariant: the transcript is append-only, numbered without gaps, and has each message once."""

import asyncio

from tertulia.core.context_window import ContextWindow, compute_window
from tertulia.store.transcript import read_messages, read_window, record_posts, text_of
from tests.store.harness import StoreHarness, post


async def test_record_posts_numbers_in_order(harness: StoreHarness) -> None:
    assert await harness.post(post("a"), post("b")) == 2
    assert await harness.post(post("c")) == 3
    assert [(one.seq, one.text, one.role, one.sender, one.sender_id, one.turn) for one in await harness.messages()] == [
        (1, "a", "user", "User", None, None),
        (2, "b", "user", "User", None, None),
        (3, "c", "user", "User", None, None),
    ]


async def test_record_posts_ignores_known_message_ids(harness: StoreHarness) -> None:
    one, other = post("a", "one"), post("b", "other")
    assert await harness.post(one) == 1
    assert await harness.post(one) == 1
    assert await harness.post(one, other, other) == 2
    assert [message.text for message in await harness.messages()] == ["a", "b"]
    await harness.commit_next_turn("next")
    assert [message.seq for message in await harness.messages()] == [1, 2, 3]


async def test_record_posts_concurrent_duplicates(harness: StoreHarness) -> None:
    posts = [post(str(number)) for number in range(5)]
    calls = (record_posts(harness.database, harness.conversation_id, posts) for _ in range(8))
    assert await asyncio.gather(*calls) == [5] * 8
    assert [message.text for message in await harness.messages()] == ["0", "1", "2", "3", "4"]


async def test_record_posts_concurrent_without_gaps(harness: StoreHarness) -> None:
    calls = (record_posts(harness.database, harness.conversation_id, [post(str(number))]) for number in range(12))
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 13))
    assert [message.seq for message in await harness.messages()] == list(range(1, 13))


async def test_message_ids_are_per_conversation(harness: StoreHarness) -> None:
    from tests.store.harness import open_store_harness

    other = await open_store_harness(harness.database)
    assert await harness.post(post("a", "same")) == 1
    assert await other.post(post("b", "same")) == 1


async def test_chars_before_adds_up(harness: StoreHarness) -> None:
    await harness.post(post("four"), post("ünïcödé 𝄞"))
    await harness.commit_next_turn("twelve chars")
    await harness.post(post("end"))
    texts = [message.text for message in await harness.messages()]
    starts = [sum(map(len, texts[:index])) for index in range(len(texts))]
    for index, start in enumerate(starts):
        heard = await read_window(harness.database, harness.conversation_id, ContextWindow(0, start), len(texts))
        assert [one.text for one in heard] == texts[index:]
        later = await read_window(harness.database, harness.conversation_id, ContextWindow(0, start + 1), len(texts))
        assert [one.text for one in later] == texts[min(index + 1, len(texts) - 1) :]


async def test_read_window_is_bounded_by_turn(harness: StoreHarness) -> None:
    await harness.post(*(post(f"{number:04}") for number in range(1, 101)))
    view = compute_window(90, 360, max_messages=10, max_tokens=10_000)
    heard = await read_window(harness.database, harness.conversation_id, view, 90)
    assert [int(one.text) for one in heard] == list(range(view.after_seq + 1, 91))
    by_chars = compute_window(100, 400, max_messages=1_000, max_tokens=20)
    assert len(await read_window(harness.database, harness.conversation_id, by_chars, 100)) == 20
    nothing_fits = await read_window(harness.database, harness.conversation_id, ContextWindow(0, 9_999), 100)
    assert [one.text for one in nothing_fits] == ["0100"], "the last message is always there"
    assert await read_window(harness.database, harness.conversation_id, ContextWindow(100, 0), 100) == []


async def test_read_window_includes_senders(harness: StoreHarness) -> None:
    await harness.post(post("a"))
    await harness.commit_next_turn("b", speaker=1)
    heard = await read_window(harness.database, harness.conversation_id, ContextWindow(0, 0), 2)
    assert [(one.sender_id, one.sender) for one in heard] == [
        (None, "User"),
        (harness.agents[1].id, harness.agents[1].name),
    ]


async def test_read_messages_pages_without_gaps(harness: StoreHarness) -> None:
    await harness.post(*(post(str(number)) for number in range(25)))
    seqs, after = list[int](), 0
    while page := await read_messages(harness.database, harness.conversation_id, after_seq=after, limit=10):
        assert len(page) == min(10, 25 - after)
        seqs += [message.seq for message in page]
        after = page[-1].seq
    assert seqs == list(range(1, 26))


async def test_text_of_reads_one_message(harness: StoreHarness) -> None:
    await harness.post(post("a"), post("b"))
    assert await text_of(harness.database, harness.conversation_id, 2) == "b"
    assert await text_of(harness.database, harness.conversation_id, 3) == ""

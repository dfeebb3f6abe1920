"""Words are heard as they are said, and that somebody listens changes nothing about what comes of a turn."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from sqlalchemy import text
from temporalio.exceptions import ApplicationError

from tertulia.activities.completions import MAX_RESPONSE_BYTES, MAX_STREAM_BYTES, Completion
from tertulia.activities.errors import ModelError
from tertulia.activities.live_text import LiveTextPublisher, StreamPreview
from tertulia.activities.provider import ModelProvider
from tertulia.core.agents import ModelChoice
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.core.prompt import ChatMessage
from tertulia.core.records import LiveDelta
from tertulia.devstack.offline_model import Fault, FaultKind, OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.store import notifications
from tertulia.store.agents import find_agent, save_agent
from tertulia.store.notifications import Listener, Subscription
from tests.activities.endpoint import DONE, USAGE, Endpoint, asked_by, chunk
from tests.activities.table import Table
from tests.eventually import eventually

HELLO = (chunk(""), chunk("Good "), chunk("day."), chunk(None, "stop"), USAGE, DONE)


async def answer_of(
    endpoint: Endpoint, heard: list[str] | None = None, choice: ModelChoice | None = None, seconds: float = 10
) -> Completion:
    """What the provider makes of what the endpoint answers."""
    heard = [] if heard is None else heard
    async with asked_by(endpoint) as provider:
        prompt: list[ChatMessage] = [{"role": "user", "content": "Hello?"}]
        return await provider.complete(choice or ModelChoice(), prompt, timeout_seconds=seconds, on_text=heard.append)


async def test_words_are_heard_one_by_one_and_the_answer_is_whole() -> None:
    heard: list[str] = []
    endpoint = Endpoint(HELLO)
    answer = await answer_of(endpoint, heard)
    assert heard == ["Good ", "day."]
    assert (answer.text, answer.finish_reason, answer.model, answer.note) == ("Good day.", "stop", "told", "")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.model_calls) == (7, 5, 1)
    assert endpoint.asked[0]["stream_options"] == {"include_usage": True}


async def test_events_are_read_however_the_network_cuts_them() -> None:
    stream = b": a comment\r\n\r\nevent: x\n" + b"".join(HELLO).replace(b"\n", b"\r\n") + "data:{}é".encode()
    answer = await answer_of(Endpoint([bytes([one]) for one in stream]))
    assert answer.text == "Good day."


async def test_a_character_that_the_network_cuts_in_two_is_one() -> None:
    stream = b'data: {"choices": [{"delta": {"content": "caf\xc3\xa9 \xff"}}]}\n\n' + DONE
    heard: list[str] = []
    answer = await answer_of(Endpoint([stream[:46], stream[46:47], stream[47:]]), heard)
    assert answer.text == "café \ufffd"


@pytest.mark.parametrize(
    ("parts", "message", "retryable"),
    [
        ([], "not a chat completion", True),
        ([b"<html>no stream at all"], "not a chat completion", True),
        ([b"data: {broken\n\n"], "not a chat completion", True),
        ([DONE], "holds no choice", True),
        ([chunk("Good "), chunk("day")], "broke off", True),
        ([chunk("Good "), b'data: {"error": {"message": "overloaded", "code": 502}}\n\n'], "overloaded", True),
        ([chunk("Good "), b'data: {"error": {"message": "forbidden", "code": 403}}\n\n'], "forbidden", False),
        ([chunk("", "content_filter"), DONE], "filter", False),
        ([b'data: {"choices": [{"delta": {"refusal": "I will not."}}]}\n\n', DONE], "I will not", False),
    ],
)
async def test_a_stream_of_no_use_has_the_outcome_that_it_would_have_in_one_piece(
    parts: list[bytes], message: str, retryable: bool
) -> None:
    with pytest.raises(ModelError, match=message) as error:
        await answer_of(Endpoint(parts))
    assert error.value.retryable is retryable


async def test_a_stream_that_ends_without_a_word_about_its_end_is_whole_if_the_model_has_finished() -> None:
    assert (await answer_of(Endpoint(HELLO[:-1]))).text == "Good day."


async def test_after_its_last_event_the_end_of_a_stream_is_not_waited_for() -> None:
    assert (await answer_of(Endpoint(HELLO, open_end=True), seconds=5)).text == "Good day."


async def test_a_stream_that_stands_still_is_given_up_in_time() -> None:
    with pytest.raises(ModelError, match="did not answer in time"):
        await answer_of(Endpoint(HELLO[:2], open_end=True), seconds=0.3)


@pytest.mark.parametrize(
    ("part", "limit"), [(chunk("x" * 100_000), MAX_RESPONSE_BYTES), (b": " + b"x" * 400_000 + b"\n", MAX_STREAM_BYTES)]
)
async def test_a_stream_without_end_is_not_read_for_ever(part: bytes, limit: int) -> None:
    with pytest.raises(ModelError, match=f"more than {limit} bytes"):
        await answer_of(Endpoint([part] * 100), seconds=60)


async def test_what_an_answer_cost_is_known_wherever_the_stream_tells_it() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    answer = await answer_of(Endpoint([chunk("Good day.", usage=usage), chunk(None, "stop"), DONE]))
    assert answer.usage.total_tokens == 12


async def test_an_endpoint_that_answers_in_one_piece_all_the_same_is_understood() -> None:
    heard: list[str] = []
    assert (await answer_of(Endpoint(content_type="application/json"), heard)).text == "in one piece"
    assert heard == []


async def test_an_endpoint_that_cannot_stream_is_asked_without_and_not_again() -> None:
    endpoint = Endpoint(status=400)
    async with asked_by(endpoint) as provider:
        for _ in range(2):
            answer = await provider.complete(ModelChoice(), [], timeout_seconds=10, on_text=print)
            assert answer.text == "in one piece"
    assert [request.get("stream") for request in endpoint.asked] == [True, None, None]


async def test_a_request_that_is_refused_either_way_is_refused() -> None:
    endpoint = Endpoint(status=400, plain_status=400)
    with pytest.raises(ModelError, match="answered 400") as error:
        await answer_of(endpoint)
    assert not error.value.retryable


async def test_who_sets_the_stream_themselves_is_left_alone() -> None:
    endpoint = Endpoint(HELLO)
    answer = await answer_of(endpoint, choice=ModelChoice(extra={"stream": False}))
    assert answer.text == "in one piece"


async def test_what_a_model_says_does_not_hang_on_who_listens_and_its_words_come_one_after_the_other(
    stack: Stack, model: OfflineModelControl
) -> None:
    await model.behave(delay_ms=800)
    base_url = stack.addresses.model_base_url
    provider = ModelProvider(base_url, "key", "offline")
    prompt: list[ChatMessage] = [{"role": "user", "content": "User: What shall we eat?"}]
    moments: list[float] = []
    try:
        whole = await provider.complete(ModelChoice(), prompt, timeout_seconds=20)
        streamed = await provider.complete(
            ModelChoice(), prompt, timeout_seconds=20, on_text=lambda _: moments.append(monotonic())
        )
    finally:
        await provider.close()
    assert streamed == whole
    assert moments[-1] - moments[0] > 0.3


@pytest.fixture
async def listener(table: Table) -> AsyncIterator[Listener]:
    async with Listener(table.database) as running:
        await asyncio.wait_for(running.connected.wait(), 10)
        yield running


async def marked(table: Table) -> bool:
    """Whether the worker will see that somebody watches."""
    row = await table.database.row(
        text("select watched_until > now() from conversations where id = :id"), {"id": table.conversation}
    )
    return bool(row and row[0])


async def words_of(news: Subscription, heard: list[LiveDelta]) -> None:
    """Collect what is heard, for ever."""
    while True:
        await news.wait()
        heard.extend(news.take_deltas())


async def test_who_watches_hears_the_words_while_they_are_said(table: Table, listener: Listener) -> None:
    await table.model.behave(delay_ms=1_500)
    with listener.subscribe(table.conversation, deltas=True) as news:
        await eventually(lambda: marked(table), bool)
        heard: list[LiveDelta] = []
        collecting = asyncio.create_task(words_of(news, heard))
        speaking = asyncio.create_task(table.take_turn(1, "Ana", seq=1, attempt=2))

        async def several() -> bool:
            return len(heard) > 2 or speaking.done()

        await eventually(several, bool)
        assert not speaking.done(), "words come before the message"
        result = await speaking
        collecting.cancel()
    assert (result.outcome, result.attempt) == ("spoke", 2)
    whole = (await table.messages())[1].text
    assert {(delta.turn, delta.attempt) for delta in heard} == {(1, 2)}
    assert whole.startswith("".join(delta.text for delta in heard))
    lengths = [len(delta.text) for delta in heard]
    assert [delta.offset for delta in heard] == [sum(lengths[:place]) for place in range(len(lengths))]


async def test_where_nobody_wants_words_nothing_is_streamed(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unmarked(*_: object) -> bool:
        return True

    monkeypatch.setattr(notifications, "mark_watched", unmarked)
    await table.model.behave(delay_ms=600)
    async with Listener(table.database) as listener:
        await asyncio.wait_for(listener.connected.wait(), 10)
        with listener.subscribe(table.conversation, deltas=True) as news:
            await table.take_turn(1, "Ana", seq=1)
            await asyncio.sleep(0.3)
            assert news.take_deltas() == []


async def test_nothing_is_sent_any_more_once_the_turn_is_over(table: Table, listener: Listener) -> None:
    preview, words = StreamPreview("Ana", 1_000), "These words have come too late. "
    with listener.subscribe(table.conversation, deltas=True) as news:
        with LiveTextPublisher(table.database).publish_turn(table.conversation, 1, 1, preview):
            await asyncio.sleep(0)
            preview.add_text(words)
        await eventually(senders, lambda left: not left)
        assert news.take_deltas() == []


async def senders() -> list[str]:
    """What is still at work on sending words."""
    return [name for task in asyncio.all_tasks() if "_publish_until_done" in (name := repr(task.get_coro()))]


@pytest.mark.parametrize("kind", ["rate_limit", "server_error", "garbage", "empty", "disconnect", "hang"])
async def test_a_fault_has_the_same_outcome_whether_or_not_somebody_listens(
    table: Table, listener: Listener, kind: FaultKind
) -> None:
    await table.model.behave(Fault(kind=kind, retry_after_s=3))
    outcomes = []
    for turn, watched in enumerate((False, True), start=1):
        with listener.subscribe(table.conversation, deltas=watched):
            if watched:
                await eventually(lambda: marked(table), bool)
            result, errors = await table.insist_on_turn(
                turn, "Ana", seq=1, timeout_seconds=0.5 if kind == "hang" else 10
            )
        outcomes.append((result.outcome, result.usage, result.error, [(one.type, one.message) for one in errors]))
    assert outcomes[0] == outcomes[1]


async def test_a_speech_is_not_disturbed_when_its_words_cannot_be_sent(
    table: Table, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tertulia.activities import live_text

    monkeypatch.setattr(live_text, "_NOTIFY", text("select pg_notify('no such channel' || repeat('x', 100), :payload)"))
    await table.model.behave(delay_ms=600)
    with listener.subscribe(table.conversation, deltas=True) as news:
        await eventually(lambda: marked(table), bool)
        assert (await table.take_turn(1, "Ana", seq=1)).outcome == "spoke"
        assert news.take_deltas() == []


async def test_a_request_that_the_provider_refuses_costs_one_call_though_it_was_streamed(
    table: Table, listener: Listener
) -> None:
    agent = await find_agent(table.database, DEFAULT_ORGANISATION, table.members["Ana"].name)
    nonsense = ModelChoice(extra={"messages": "not a list"})
    refused = agent.model_copy(update={"model": agent.model.model_copy(update=dict(nonsense))})
    await save_agent(table.database, DEFAULT_ORGANISATION, refused)
    with listener.subscribe(table.conversation, deltas=True):
        await eventually(lambda: marked(table), bool)
        try:
            result = await table.take_turn(1, "Ana", seq=1)
        except ApplicationError as error:
            raise AssertionError("a refusal is not tried again") from error
    assert (result.outcome, result.usage.model_calls) == ("failed", 1)


def shown(*words: str, name: str = "Velma", limit: int = 1_000) -> list[tuple[int, str]]:
    """What an overture shows after each of these."""
    preview = StreamPreview(name, limit)
    taken = []
    for one in words:
        preview.add_text(one)
        taken.append(preview.take_new_text())
    return [(offset, piece) for offset, piece in taken if piece]


def test_the_speakers_own_name_is_not_shown_before_its_words() -> None:
    assert shown("Vel", "ma: ", "I should like ", "to know", ".") == [(0, "I should like"), (13, " to know"), (21, ".")]


@pytest.mark.parametrize("answer", ["PASS", "**PASS**", "Velma: PASS.", '"Pass."'])
def test_a_pass_is_never_shown_as_words(answer: str) -> None:
    assert shown(*answer) == []


def test_no_more_is_shown_than_the_message_will_hold() -> None:
    pieces = shown(*(["some words "] * 50), limit=100)
    said = "".join(piece for _, piece in pieces)
    assert len(said) <= 100
    assert said == ("some words " * 10)[: len(said)] or said.endswith("…")

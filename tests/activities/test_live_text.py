"""Text is published while the model generates it, and a watcher never changes the result of a turn."""

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
from tertulia.testing import eventually
from tests.activities.harness import ActivityHarness
from tests.harness.scripted_model_server import (
    DONE_EVENT,
    USAGE_EVENT,
    ScriptedModelServer,
    completion_chunk,
    provider_of,
)

HELLO_EVENTS = (
    completion_chunk(""),
    completion_chunk("Good "),
    completion_chunk("day."),
    completion_chunk(None, "stop"),
    USAGE_EVENT,
    DONE_EVENT,
)


async def complete_with(
    model_server: ScriptedModelServer,
    received: list[str] | None = None,
    choice: ModelChoice | None = None,
    seconds: float = 10,
) -> Completion:
    """Return the provider's completion of the endpoint's response."""
    received = [] if received is None else received
    async with provider_of(model_server) as provider:
        prompt: list[ChatMessage] = [{"role": "user", "content": "Hello?"}]
        return await provider.complete(
            choice or ModelChoice(), prompt, timeout_seconds=seconds, on_text=received.append
        )


async def test_stream_reports_each_delta_and_whole_text() -> None:
    received: list[str] = []
    model_server = ScriptedModelServer(HELLO_EVENTS)
    answer = await complete_with(model_server, received)
    assert received == ["Good ", "day."]
    assert (answer.text, answer.finish_reason, answer.model, answer.note) == ("Good day.", "stop", "told", "")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.model_calls) == (7, 5, 1)
    assert model_server.requests[0]["stream_options"] == {"include_usage": True}


async def test_stream_parses_any_chunk_boundary() -> None:
    stream = b": a comment\r\n\r\nevent: x\n" + b"".join(HELLO_EVENTS).replace(b"\n", b"\r\n") + "data:{}é".encode()
    answer = await complete_with(ScriptedModelServer([bytes([one]) for one in stream]))
    assert answer.text == "Good day."


async def test_stream_joins_split_utf8_character() -> None:
    stream = b'data: {"choices": [{"delta": {"content": "caf\xc3\xa9 \xff"}}]}\n\n' + DONE_EVENT
    received: list[str] = []
    answer = await complete_with(ScriptedModelServer([stream[:46], stream[46:47], stream[47:]]), received)
    assert answer.text == "café \ufffd"


@pytest.mark.parametrize(
    ("parts", "message", "retryable"),
    [
        ([], "not a chat completion", True),
        ([b"<html>no stream at all"], "not a chat completion", True),
        ([b"data: {broken\n\n"], "not a chat completion", True),
        ([DONE_EVENT], "holds no choice", True),
        ([completion_chunk("Good "), completion_chunk("day")], "ended early", True),
        (
            [completion_chunk("Good "), b'data: {"error": {"message": "overloaded", "code": 502}}\n\n'],
            "overloaded",
            True,
        ),
        (
            [completion_chunk("Good "), b'data: {"error": {"message": "forbidden", "code": 403}}\n\n'],
            "forbidden",
            False,
        ),
        ([completion_chunk("", "content_filter"), DONE_EVENT], "filter", False),
        ([b'data: {"choices": [{"delta": {"refusal": "I will not."}}]}\n\n', DONE_EVENT], "I will not", False),
    ],
)
async def test_broken_stream_has_same_error_as_plain(parts: list[bytes], message: str, retryable: bool) -> None:
    with pytest.raises(ModelError, match=message) as error:
        await complete_with(ScriptedModelServer(parts))
    assert error.value.retryable is retryable


async def test_stream_without_done_event_is_complete() -> None:
    assert (await complete_with(ScriptedModelServer(HELLO_EVENTS[:-1]))).text == "Good day."


async def test_stream_end_is_not_awaited_after_done() -> None:
    assert (await complete_with(ScriptedModelServer(HELLO_EVENTS, open_end=True), seconds=5)).text == "Good day."


async def test_stalled_stream_times_out() -> None:
    with pytest.raises(ModelError, match="did not answer in time"):
        await complete_with(ScriptedModelServer(HELLO_EVENTS[:2], open_end=True), seconds=0.3)


@pytest.mark.parametrize(
    ("part", "limit"),
    [(completion_chunk("x" * 100_000), MAX_RESPONSE_BYTES), (b": " + b"x" * 400_000 + b"\n", MAX_STREAM_BYTES)],
)
async def test_endless_stream_is_bounded(part: bytes, limit: int) -> None:
    with pytest.raises(ModelError, match=f"more than {limit} bytes"):
        await complete_with(ScriptedModelServer([part] * 100), seconds=60)


async def test_stream_usage_is_read_from_any_chunk() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    answer = await complete_with(
        ScriptedModelServer([completion_chunk("Good day.", usage=usage), completion_chunk(None, "stop"), DONE_EVENT])
    )
    assert answer.usage.total_tokens == 12


async def test_stream_accepts_plain_json_response() -> None:
    received: list[str] = []
    assert (await complete_with(ScriptedModelServer(content_type="application/json"), received)).text == "in one piece"
    assert received == []


async def test_stream_refusal_falls_back_to_plain() -> None:
    model_server = ScriptedModelServer(status=400)
    async with provider_of(model_server) as provider:
        for _ in range(2):
            answer = await provider.complete(ModelChoice(), [], timeout_seconds=10, on_text=print)
            assert answer.text == "in one piece"
    assert [request.get("stream") for request in model_server.requests] == [True, None, None]


async def test_stream_and_plain_refusal_raise_error() -> None:
    model_server = ScriptedModelServer(status=400, plain_status=400)
    with pytest.raises(ModelError, match="answered 400") as error:
        await complete_with(model_server)
    assert not error.value.retryable


async def test_stream_option_of_agent_is_respected() -> None:
    model_server = ScriptedModelServer(HELLO_EVENTS)
    answer = await complete_with(model_server, choice=ModelChoice(extra={"stream": False}))
    assert answer.text == "in one piece"


async def test_streamed_text_equals_plain_text(stack: Stack, model: OfflineModelControl) -> None:
    await model.set_behaviour(delay_ms=800)
    base_url = stack.addresses.model_base_url
    provider = ModelProvider(base_url, "key", "offline")
    prompt: list[ChatMessage] = [{"role": "user", "content": "User: What shall we eat?"}]
    times: list[float] = []
    try:
        whole = await provider.complete(ModelChoice(), prompt, timeout_seconds=20)
        streamed = await provider.complete(
            ModelChoice(), prompt, timeout_seconds=20, on_text=lambda _: times.append(monotonic())
        )
    finally:
        await provider.close()
    assert streamed == whole
    assert times[-1] - times[0] > 0.3


@pytest.fixture
async def listener(harness: ActivityHarness) -> AsyncIterator[Listener]:
    async with Listener(harness.database) as running:
        await asyncio.wait_for(running.connected.wait(), 10)
        yield running


async def is_watched(harness: ActivityHarness) -> bool:
    """Return True if the conversation is marked as watched."""
    row = await harness.database.row(
        text("select watched_until > now() from conversations where id = :id"), {"id": harness.conversation}
    )
    return bool(row and row[0])


async def collect_deltas(subscription: Subscription, received: list[LiveDelta]) -> None:
    """Collect deltas until cancelled."""
    while True:
        await subscription.wait()
        received.extend(subscription.take_deltas())


async def test_live_text_arrives_before_the_message(harness: ActivityHarness, listener: Listener) -> None:
    await harness.model.set_behaviour(delay_ms=1_500)
    with listener.subscribe(harness.conversation, deltas=True) as subscription:
        await eventually(lambda: is_watched(harness), bool)
        received: list[LiveDelta] = []
        collecting = asyncio.create_task(collect_deltas(subscription, received))
        speaking = asyncio.create_task(harness.take_turn(1, "Ana", seq=1, attempt=2))

        async def several() -> bool:
            return len(received) > 2 or speaking.done()

        await eventually(several, bool)
        assert not speaking.done(), "text arrives before the message"
        result = await speaking
        collecting.cancel()
    assert (result.outcome, result.attempt) == ("spoke", 2)
    whole = (await harness.messages())[1].text
    assert {(delta.turn, delta.attempt) for delta in received} == {(1, 2)}
    assert whole.startswith("".join(delta.text for delta in received))
    lengths = [len(delta.text) for delta in received]
    assert [delta.offset for delta in received] == [sum(lengths[:place]) for place in range(len(lengths))]


async def test_live_text_is_not_sent_without_watchers(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unmarked(*_: object) -> bool:
        return True

    monkeypatch.setattr(notifications, "mark_watched", unmarked)
    await harness.model.set_behaviour(delay_ms=600)
    async with Listener(harness.database) as listener:
        await asyncio.wait_for(listener.connected.wait(), 10)
        with listener.subscribe(harness.conversation, deltas=True) as subscription:
            await harness.take_turn(1, "Ana", seq=1)
            await asyncio.sleep(0.3)
            assert subscription.take_deltas() == []


async def test_live_text_stops_when_turn_is_over(harness: ActivityHarness, listener: Listener) -> None:
    preview = StreamPreview("Ana", 1_000)
    with listener.subscribe(harness.conversation, deltas=True) as subscription:
        with LiveTextPublisher(harness.database).publish_turn(harness.conversation, 1, 1, preview):
            await asyncio.sleep(0)
            preview.add_text("This text arrives too late. ")
        await eventually(running_senders, lambda left: not left)
        assert subscription.take_deltas() == []


async def running_senders() -> list[str]:
    """Return the tasks that still publish text."""
    return [name for task in asyncio.all_tasks() if "_publish_until_done" in (name := repr(task.get_coro()))]


@pytest.mark.parametrize("kind", ["rate_limit", "server_error", "garbage", "empty", "disconnect", "hang"])
async def test_live_text_does_not_change_fault_outcome(
    harness: ActivityHarness, listener: Listener, kind: FaultKind
) -> None:
    await harness.model.set_behaviour(Fault(kind=kind, retry_after_s=3))
    outcomes = []
    for turn, watched in enumerate((False, True), start=1):
        with listener.subscribe(harness.conversation, deltas=watched):
            if watched:
                await eventually(lambda: is_watched(harness), bool)
            result, errors = await harness.take_turn_until_result(
                turn, "Ana", seq=1, timeout_seconds=0.5 if kind == "hang" else 10
            )
        outcomes.append((result.outcome, result.usage, result.error, [(one.type, one.message) for one in errors]))
    assert outcomes[0] == outcomes[1]


async def test_live_text_send_failure_is_harmless(
    harness: ActivityHarness, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tertulia.activities import live_text

    monkeypatch.setattr(live_text, "_NOTIFY", text("select pg_notify('no such channel' || repeat('x', 100), :payload)"))
    await harness.model.set_behaviour(delay_ms=600)
    with listener.subscribe(harness.conversation, deltas=True) as subscription:
        await eventually(lambda: is_watched(harness), bool)
        assert (await harness.take_turn(1, "Ana", seq=1)).outcome == "spoke"
        assert subscription.take_deltas() == []


async def test_live_text_refused_request_costs_one_call(harness: ActivityHarness, listener: Listener) -> None:
    agent = await find_agent(harness.database, DEFAULT_ORGANISATION, harness.members["Ana"].name)
    nonsense = ModelChoice(extra={"messages": "not a list"})
    refused = agent.model_copy(update={"model": agent.model.model_copy(update=dict(nonsense))})
    await save_agent(harness.database, DEFAULT_ORGANISATION, refused)
    with listener.subscribe(harness.conversation, deltas=True):
        await eventually(lambda: is_watched(harness), bool)
        try:
            result = await harness.take_turn(1, "Ana", seq=1)
        except ApplicationError as error:
            raise AssertionError("a refused request must not be retried") from error
    assert (result.outcome, result.usage.model_calls) == ("failed", 1)


def preview_pieces(*parts: str, name: str = "Velma", limit: int = 1_000) -> list[tuple[int, str]]:
    """Return the new text of a preview after each part."""
    preview = StreamPreview(name, limit)
    taken = []
    for part in parts:
        preview.add_text(part)
        taken.append(preview.take_new_text())
    return [(offset, piece) for offset, piece in taken if piece]


def test_stream_preview_hides_own_name() -> None:
    assert preview_pieces("Vel", "ma: ", "I should like ", "to know", ".") == [
        (0, "I should like"),
        (13, " to know"),
        (21, "."),
    ]


@pytest.mark.parametrize("answer", ["PASS", "**PASS**", "Velma: PASS.", '"Pass."'])
def test_stream_preview_never_shows_pass(answer: str) -> None:
    assert preview_pieces(*answer) == []


def test_stream_preview_respects_message_limit() -> None:
    pieces = preview_pieces(*(["some words "] * 50), limit=100)
    said = "".join(piece for _, piece in pieces)
    assert len(said) <= 100
    assert said == ("some words " * 10)[: len(said)] or said.endswith("…")

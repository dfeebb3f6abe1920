"""The offline model over HTTP, called by the real OpenAI client; its process; its faults."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from openai import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    AsyncOpenAI,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
)
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)

from tertulia.devstack.offline_model import TERSE_MODEL, Fault, FaultKind, Match, OfflineModel, open_offline_model

SYSTEM = "You are Velma, an economist.\nHere now: Velma, Tomas, Rosa\nRules: say DONE! when all is said."
MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": "User: Should our town close its main square to cars?"},
    {"role": "user", "content": "Tomas: Heat is not the same as speed. Rosa, and you?"},
]
CHOOSE: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "choose_next_participant",
        "parameters": {
            "type": "object",
            "properties": {"participant": {"enum": ["Velma", "Rosa"]}, "reason": {"type": "string"}},
            "required": ["participant", "reason"],
        },
    },
}


@dataclass(frozen=True)
class ModelServerHarness:
    """A running model and a client of it."""

    model: OfflineModel
    client: AsyncOpenAI

    async def ask(self, model: str = "offline", *, timeout_seconds: float = 10) -> ChatCompletion:
        return await self.client.chat.completions.create(model=model, messages=MESSAGES, timeout=timeout_seconds)

    async def choose(self) -> ChatCompletionMessageFunctionToolCall:
        answer = await self.client.chat.completions.create(
            model="offline", messages=MESSAGES, tools=[CHOOSE], tool_choice="required"
        )
        calls = answer.choices[0].message.tool_calls or []
        assert len(calls) == 1
        call = calls[0]
        assert isinstance(call, ChatCompletionMessageFunctionToolCall)
        return call


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[ModelServerHarness]:
    async with (
        open_offline_model() as model,
        AsyncOpenAI(base_url=model.base_url, api_key="none", max_retries=0) as client,
    ):
        yield ModelServerHarness(model, client)


@pytest.fixture
async def harness(running: ModelServerHarness) -> AsyncIterator[ModelServerHarness]:
    yield running
    await running.model.control.reset()
    await running.model.control.clear_calls()


async def test_completion_is_deterministic(harness: ModelServerHarness) -> None:
    first, second = await harness.ask(), await harness.ask()

    assert first.model_dump() == second.model_dump()
    assert first.choices[0].finish_reason == "stop"
    assert len(first.choices[0].message.content or "") > 20
    assert first.usage is not None and first.usage.total_tokens > 40
    assert first.usage.prompt_tokens_details is not None and first.usage.prompt_tokens_details.cached_tokens == 0


async def test_stream_sends_words_then_usage(harness: ModelServerHarness) -> None:
    stream = await harness.client.chat.completions.create(
        model="offline", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    words = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]

    assert len(words) > 5 and all(word.count(" ") <= 1 for word in words)
    assert len("".join(words)) > 20
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0
    assert chunks[-2].choices[0].finish_reason == "stop"


async def test_forced_tool_call_plain_and_streamed(harness: ModelServerHarness) -> None:
    arguments = (await harness.choose()).function.arguments
    assert json.loads(arguments) == {"participant": "Rosa", "reason": "Tomas asked Rosa directly"}

    stream = await harness.client.chat.completions.create(
        model="offline",
        messages=MESSAGES,
        tools=[CHOOSE],
        tool_choice={"type": "function", "function": {"name": "choose_next_participant"}},
        stream=True,
    )
    deltas = [chunk.choices[0].delta async for chunk in stream]
    pieces = [call.function for delta in deltas for call in delta.tool_calls or () if call.function]
    streamed = "".join(piece.arguments or "" for piece in pieces)

    assert pieces[0].name == "choose_next_participant"
    assert json.loads(streamed)["participant"] == "Rosa"


async def test_terse_model_names_the_speaker(harness: ModelServerHarness) -> None:
    text = (await harness.ask(TERSE_MODEL)).choices[0].message.content or ""

    assert "Velma" in text and len(text) < 60


async def test_models_are_listed_and_others_not_found(harness: ModelServerHarness) -> None:
    assert "offline" in [model.id async for model in harness.client.models.list()]
    with pytest.raises(NotFoundError, match="/v1/embeddings"):
        await harness.client.embeddings.create(model="m", input="a")


async def test_invalid_request_names_field(harness: ModelServerHarness) -> None:
    with pytest.raises(BadRequestError, match="messages") as refused:
        await harness.client.chat.completions.create(model="m", messages=[])

    assert refused.value.param == "messages"
    assert (await harness.model.control.calls()).total == 0


async def test_calls_are_counted_by_model_and_speaker(harness: ModelServerHarness) -> None:
    await harness.ask()
    await harness.ask("other")
    await harness.ask()

    calls = await harness.model.control.calls()

    assert (calls.total, calls.answered, calls.repeated, calls.in_flight) == (3, 3, 1, 0)
    assert calls.by_model == {"offline": 2, "other": 1}
    assert calls.by_speaker == {"Velma": 3}


async def test_rate_limit_fault_sends_retry_after(harness: ModelServerHarness) -> None:
    await harness.model.control.set_behaviour(Fault(kind="rate_limit", times=1, retry_after_s=2.5))

    with pytest.raises(RateLimitError) as refused:
        await harness.ask()

    assert refused.value.response.headers["retry-after"] == "2.5"
    assert refused.value.code == "rate_limit_exceeded"
    assert (await harness.ask()).choices
    calls = await harness.model.control.calls()
    assert (calls.total, calls.answered, calls.repeated) == (2, 1, 0)


async def test_server_error_fault_matches_target(harness: ModelServerHarness) -> None:
    error: FaultKind = "server_error"
    await harness.model.control.set_behaviour(
        Fault(kind=error, match=Match(speaker="Tomas")),
        Fault(kind=error, match=Match(model="other")),
        Fault(kind=error, match=Match(tool="choose_next_participant")),
    )

    assert (await harness.ask()).choices
    with pytest.raises(InternalServerError):
        await harness.ask("other")
    with pytest.raises(InternalServerError):
        await harness.choose()


async def test_hanging_call_ends_with_its_client(harness: ModelServerHarness) -> None:
    await harness.model.control.set_behaviour(Fault(kind="hang"))
    asking = asyncio.create_task(harness.ask(timeout_seconds=0.5))
    await in_flight(harness, 1)

    with pytest.raises(APITimeoutError):
        await asking
    await in_flight(harness, 0)
    assert (await harness.model.control.calls()).answered == 0


async def test_abandoned_answer_is_not_counted(harness: ModelServerHarness) -> None:
    await harness.model.control.set_behaviour(delay_ms=400)
    with pytest.raises(APITimeoutError):
        await harness.ask(timeout_seconds=0.1)
    await in_flight(harness, 0)
    await harness.model.control.reset()
    await harness.ask()

    calls = await harness.model.control.calls()
    assert (calls.total, calls.answered, calls.repeated) == (2, 1, 0)


async def test_slow_fault_delays_answer(harness: ModelServerHarness) -> None:
    await harness.model.control.set_behaviour(Fault(kind="slow", delay_ms=200, times=1))
    clock = asyncio.get_running_loop().time
    began = clock()
    await harness.ask()
    assert clock() - began >= 0.2


async def test_disconnect_fault_gives_no_answer(harness: ModelServerHarness) -> None:
    await harness.model.control.set_behaviour(Fault(kind="disconnect", times=1))

    with pytest.raises(APIConnectionError):
        await harness.ask()

    assert (await harness.ask()).choices
    assert (await harness.model.control.calls()).answered == 1


async def test_garbage_and_bad_unicode_are_unreadable(harness: ModelServerHarness) -> None:
    await harness.model.control.set_behaviour(Fault(kind="garbage", times=1), Fault(kind="bad_unicode", times=1))

    with pytest.raises((APIResponseValidationError, json.JSONDecodeError)):
        await harness.ask()
    with pytest.raises(UnicodeDecodeError):
        await harness.ask()


@pytest.mark.parametrize(
    ("kind", "reason", "length"),
    [("empty", "stop", 0), ("content_filter", "content_filter", 0), ("oversize", "stop", 3_000)],
)
async def test_spoilt_answer_has_finish_reason(
    harness: ModelServerHarness, kind: FaultKind, reason: str, length: int
) -> None:
    await harness.model.control.set_behaviour(Fault(kind=kind, size=3_000))

    choice = (await harness.ask()).choices[0]

    assert choice.finish_reason == reason
    assert len((choice.message.content or "").encode()) == length


async def test_truncated_answer_is_prefix(harness: ModelServerHarness) -> None:
    whole = (await harness.ask()).choices[0].message.content or ""
    await harness.model.control.set_behaviour(Fault(kind="truncated"))

    choice = (await harness.ask()).choices[0]

    assert choice.finish_reason == "length"
    assert whole.startswith(choice.message.content or "?") and choice.message.content != whole


async def test_bad_choice_is_outside_the_enum(harness: ModelServerHarness) -> None:
    await harness.model.control.set_behaviour(Fault(kind="bad_choice", times=1))

    assert json.loads((await harness.choose()).function.arguments)["participant"] not in ("Velma", "Rosa")
    assert json.loads((await harness.choose()).function.arguments)["participant"] == "Rosa"


async def test_invalid_behaviour_is_refused(harness: ModelServerHarness) -> None:
    with pytest.raises(ValueError, match="400"):
        await harness.model.control.set_behaviour(Fault.model_construct(kind="sulk"))  # type: ignore[arg-type]


async def test_process_prints_address_and_stops() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tertulia.devstack.offline_model", "--port", "0", "--delay-ms", "60000"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("listening on http://127.0.0.1:") and line.endswith("/v1\n")

    async with AsyncOpenAI(base_url=line.split()[-1], api_key="none", max_retries=0) as client:
        asking = asyncio.create_task(client.chat.completions.create(model="m", messages=MESSAGES))
        harness = ModelServerHarness(OfflineModel(line.split()[-1]), client)
        await in_flight(harness, 1)
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(process.communicate(), 10)
        with pytest.raises(APIConnectionError):
            await asking

    assert (process.returncode, out, err) == (0, b"", b"")


async def in_flight(harness: ModelServerHarness, count: int) -> None:
    async with asyncio.timeout(5):
        while (await harness.model.control.calls()).in_flight != count:  # noqa: ASYNC110 (it is another process that counts)
            await asyncio.sleep(0.02)

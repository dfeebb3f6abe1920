"""The offline model over HTTP, asked by the real OpenAI client; its process; its faults."""

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

from tertulia.devstack.offline_model import TERSE_MODEL, Fault, FaultKind, Match, OfflineModel, serving

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
class Bench:
    """A running model and a client of it."""

    model: OfflineModel
    client: AsyncOpenAI

    async def ask(self, model: str = "offline", *, patience: float = 10) -> ChatCompletion:
        return await self.client.chat.completions.create(model=model, messages=MESSAGES, timeout=patience)

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
async def running() -> AsyncIterator[Bench]:
    async with serving() as model, AsyncOpenAI(base_url=model.base_url, api_key="none", max_retries=0) as client:
        yield Bench(model, client)


@pytest.fixture
async def bench(running: Bench) -> AsyncIterator[Bench]:
    yield running
    await running.model.control.reset()
    await running.model.control.zero()


async def test_a_completion_is_the_same_each_time_and_says_what_it_used(bench: Bench) -> None:
    first, second = await bench.ask(), await bench.ask()

    assert first.model_dump() == second.model_dump()
    assert first.choices[0].finish_reason == "stop"
    assert len(first.choices[0].message.content or "") > 20
    assert first.usage is not None and first.usage.total_tokens > 40
    assert first.usage.prompt_tokens_details is not None and first.usage.prompt_tokens_details.cached_tokens == 0


async def test_a_stream_gives_the_words_one_by_one_and_its_usage_last(bench: Bench) -> None:
    stream = await bench.client.chat.completions.create(
        model="offline", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    words = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]

    assert len(words) > 5 and all(word.count(" ") <= 1 for word in words)
    assert len("".join(words)) > 20
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0
    assert chunks[-2].choices[0].finish_reason == "stop"


async def test_a_forced_tool_call_comes_at_once_or_in_pieces(bench: Bench) -> None:
    arguments = (await bench.choose()).function.arguments
    assert json.loads(arguments) == {"participant": "Rosa", "reason": "Tomas asked Rosa directly"}

    stream = await bench.client.chat.completions.create(
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


async def test_the_terse_model_names_the_speaker_in_few_words(bench: Bench) -> None:
    text = (await bench.ask(TERSE_MODEL)).choices[0].message.content or ""

    assert "Velma" in text and len(text) < 60


async def test_models_are_listed_and_what_is_not_there_is_not_found(bench: Bench) -> None:
    assert "offline" in [model.id async for model in bench.client.models.list()]
    with pytest.raises(NotFoundError, match="/v1/embeddings"):
        await bench.client.embeddings.create(model="m", input="a")


async def test_a_bad_request_names_its_field(bench: Bench) -> None:
    with pytest.raises(BadRequestError, match="messages") as refused:
        await bench.client.chat.completions.create(model="m", messages=[])

    assert refused.value.param == "messages"
    assert (await bench.model.control.calls()).total == 0


async def test_calls_are_counted_by_model_and_speaker(bench: Bench) -> None:
    await bench.ask()
    await bench.ask("other")
    await bench.ask()

    calls = await bench.model.control.calls()

    assert (calls.total, calls.answered, calls.repeated, calls.in_flight) == (3, 3, 1, 0)
    assert calls.by_model == {"offline": 2, "other": 1}
    assert calls.by_speaker == {"Velma": 3}


async def test_a_rate_limit_says_when_to_come_back(bench: Bench) -> None:
    await bench.model.control.behave(Fault(kind="rate_limit", times=1, retry_after_s=2.5))

    with pytest.raises(RateLimitError) as refused:
        await bench.ask()

    assert refused.value.response.headers["retry-after"] == "2.5"
    assert refused.value.code == "rate_limit_exceeded"
    assert (await bench.ask()).choices
    calls = await bench.model.control.calls()
    assert (calls.total, calls.answered, calls.repeated) == (2, 1, 0)


async def test_a_server_error_strikes_only_whom_it_is_meant_for(bench: Bench) -> None:
    error: FaultKind = "server_error"
    await bench.model.control.behave(
        Fault(kind=error, match=Match(speaker="Tomas")),
        Fault(kind=error, match=Match(model="other")),
        Fault(kind=error, match=Match(tool="choose_next_participant")),
    )

    assert (await bench.ask()).choices
    with pytest.raises(InternalServerError):
        await bench.ask("other")
    with pytest.raises(InternalServerError):
        await bench.choose()


async def test_a_hanging_call_is_in_flight_until_its_client_goes(bench: Bench) -> None:
    await bench.model.control.behave(Fault(kind="hang"))
    asking = asyncio.create_task(bench.ask(patience=0.5))
    await in_flight(bench, 1)

    with pytest.raises(APITimeoutError):
        await asking
    await in_flight(bench, 0)
    assert (await bench.model.control.calls()).answered == 0


async def test_an_answer_that_nobody_waits_for_any_more_does_not_count(bench: Bench) -> None:
    await bench.model.control.behave(delay_ms=400)
    with pytest.raises(APITimeoutError):
        await bench.ask(patience=0.1)
    await in_flight(bench, 0)
    await bench.model.control.reset()
    await bench.ask()

    calls = await bench.model.control.calls()
    assert (calls.total, calls.answered, calls.repeated) == (2, 1, 0)


async def test_a_slow_answer_takes_its_time(bench: Bench) -> None:
    await bench.model.control.behave(Fault(kind="slow", delay_ms=200, times=1))
    clock = asyncio.get_running_loop().time
    began = clock()
    await bench.ask()
    assert clock() - began >= 0.2


async def test_a_disconnect_gives_no_answer(bench: Bench) -> None:
    await bench.model.control.behave(Fault(kind="disconnect", times=1))

    with pytest.raises(APIConnectionError):
        await bench.ask()

    assert (await bench.ask()).choices
    assert (await bench.model.control.calls()).answered == 1


async def test_garbage_and_bad_unicode_cannot_be_read(bench: Bench) -> None:
    await bench.model.control.behave(Fault(kind="garbage", times=1), Fault(kind="bad_unicode", times=1))

    with pytest.raises((APIResponseValidationError, json.JSONDecodeError)):
        await bench.ask()
    with pytest.raises(UnicodeDecodeError):
        await bench.ask()


@pytest.mark.parametrize(
    ("kind", "reason", "length"),
    [("empty", "stop", 0), ("content_filter", "content_filter", 0), ("oversize", "stop", 3_000)],
)
async def test_an_answer_is_spoilt(bench: Bench, kind: FaultKind, reason: str, length: int) -> None:
    await bench.model.control.behave(Fault(kind=kind, size=3_000))

    choice = (await bench.ask()).choices[0]

    assert choice.finish_reason == reason
    assert len((choice.message.content or "").encode()) == length


async def test_a_truncated_answer_is_the_beginning_of_the_whole(bench: Bench) -> None:
    whole = (await bench.ask()).choices[0].message.content or ""
    await bench.model.control.behave(Fault(kind="truncated"))

    choice = (await bench.ask()).choices[0]

    assert choice.finish_reason == "length"
    assert whole.startswith(choice.message.content or "?") and choice.message.content != whole


async def test_a_bad_choice_is_outside_the_enum(bench: Bench) -> None:
    await bench.model.control.behave(Fault(kind="bad_choice", times=1))

    assert json.loads((await bench.choose()).function.arguments)["participant"] not in ("Velma", "Rosa")
    assert json.loads((await bench.choose()).function.arguments)["participant"] == "Rosa"


async def test_behaviour_that_makes_no_sense_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="400"):
        await bench.model.control.behave(Fault.model_construct(kind="sulk"))  # type: ignore[arg-type]


async def test_the_process_says_where_it_listens_and_ends_quietly_though_a_call_hangs() -> None:
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
        bench = Bench(OfflineModel(line.split()[-1]), client)
        await in_flight(bench, 1)
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(process.communicate(), 10)
        with pytest.raises(APIConnectionError):
            await asking

    assert (process.returncode, out, err) == (0, b"", b"")


async def in_flight(bench: Bench, count: int) -> None:
    async with asyncio.timeout(5):
        while (await bench.model.control.calls()).in_flight != count:  # noqa: ASYNC110 (it is another process that counts)
            await asyncio.sleep(0.02)

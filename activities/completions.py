"""Read the response of a chat completion, streamed or not, into one `Completion`.

Invariant: every response gives a completion or a `ModelError`, the same whether it was streamed or not, and of bounded
size.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import httpx2
from pydantic import BaseModel, JsonValue, ValidationError

from tertulia.activities.errors import ModelError, is_retryable
from tertulia.core.errors import truncate
from tertulia.core.usage import Usage

MAX_RESPONSE_BYTES = 8 * 2**20
"""Largest body that is read: a message is far smaller."""
MAX_STREAM_BYTES = 4 * MAX_RESPONSE_BYTES
"""Largest stream that is read: each part of the text arrives in an event that is larger than the part."""
_DRAIN_SECONDS = 0.2
"""Time for the end of the body after a stream's last event; only a fully read connection can be reused."""
_DONE = b"[DONE]"

TextCallback = Callable[[str], None]
"""Called with each part of an answer's text as it arrives."""


class ToolCall(BaseModel):
    """A function call that the model requests."""

    name: str
    """Name of the function."""
    arguments: str
    """JSON text as the model wrote it; it may be malformed."""


class Completion(BaseModel):
    """A usable answer of a model."""

    text: str
    """The text; empty if the answer holds tool calls only."""
    tool_calls: tuple[ToolCall, ...]
    """The function calls that the model requests, in order."""
    finish_reason: str | None
    """The endpoint's reason for the end, such as `stop` or `length`; None = it named none."""
    model: str
    """The model that answered, as the endpoint names it."""
    usage: Usage
    """Cost of the answer."""
    note: str = ""
    """A defect of the answer that does not make it unusable; empty = no defect."""


class _ToolCallEnvelope(BaseModel):
    function: ToolCall


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCallEnvelope] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _ChatCompletion(BaseModel):
    model: str | None = None
    choices: list[_Choice]
    usage: _Usage | None = None


class _Delta(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _ChunkChoice(BaseModel):
    index: int = 0
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Chunk(BaseModel):
    model: str | None = None
    choices: list[_ChunkChoice] = []
    usage: _Usage | None = None
    error: JsonValue = None


async def read_completion(response: httpx2.Response, model: str, on_text: TextCallback | None) -> Completion:
    """Read a response and close it.

    Args:
        response: its body has not been read.
        model: the requested model, for answers that name none.
        on_text: called with each part of the text; None = the request did not ask for a stream.

    Raises:
        ModelError: the response is too large, malformed or an error.
        httpx2.HTTPError: the connection broke.
    """
    try:
        # Some endpoints answer in one piece although the request asked for a stream.
        if on_text is None or "json" in response.headers.get("content-type", ""):
            completion = _parse(_ChatCompletion, await _read_body(response))
        else:
            completion = await _read_stream(response, on_text)
    finally:
        await response.aclose()
    return _build_completion(completion, model)


async def _read_body(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for part in _limit_size(response, MAX_RESPONSE_BYTES):
        content += part
    return bytes(content)


async def _limit_size(response: httpx2.Response, limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > limit:
            raise ModelError(f"the model's answer has more than {limit} bytes", retryable=True)
        yield part


async def _read_stream(response: httpx2.Response, on_text: TextCallback) -> _ChatCompletion:
    accumulator, events = _StreamAccumulator(on_text), _EventSplitter()
    parts = _limit_size(response, MAX_STREAM_BYTES)
    async for part in parts:
        for event in events.feed(part):
            accumulator.add_event(event)
        if accumulator.is_done:
            await _drain(parts)
            break
    return accumulator.completion()


class _EventSplitter:
    """Split a stream into the data of its server-sent events. Chat completions use one `data:` line per event."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, part: bytes) -> Iterator[bytes]:
        """Add a part of the stream and return the events that it completes."""
        self._buffer += part
        if b"\n" not in part:
            return
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield bytes(line[5:].strip())


async def _drain(parts: AsyncIterator[bytes]) -> None:
    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in parts:
                pass


class _StreamAccumulator:
    """Build one chat completion from the events of a stream."""

    def __init__(self, on_text: TextCallback) -> None:
        self.is_done = False
        self._on_text = on_text
        self._has_choice = False
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._size = 0
        self._finish_reason: str | None = None
        self._model: str | None = None
        self._usage: _Usage | None = None

    def add_event(self, event: bytes) -> None:
        """Add an event.

        Raises:
            ModelError: the event reports an error or is malformed, or the text is too long.
        """
        if self.is_done or event == _DONE:
            self.is_done = True
            return
        chunk = _parse(_Chunk, event)
        if chunk.error is not None:
            raise _stream_error(chunk.error)
        self._model = chunk.model or self._model
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices:
            if choice.index == 0:
                self._has_choice = True
                self._finish_reason = choice.finish_reason or self._finish_reason
                self._add_delta(choice.delta)

    def _add_delta(self, delta: _Delta) -> None:
        self._refusal.append(delta.refusal or "")
        if not delta.content:
            return
        self._content.append(delta.content)
        self._size += len(delta.content)
        if self._size > MAX_RESPONSE_BYTES:
            raise ModelError(f"the model's answer has more than {MAX_RESPONSE_BYTES} bytes", retryable=True)
        self._on_text(delta.content)

    def completion(self) -> _ChatCompletion:
        """Return the completion that the endpoint would have sent in one piece.

        Raises:
            ModelError: the stream ended early.
        """
        if not self._has_choice and not self.is_done:
            raise ModelError("the model's answer is not a chat completion", retryable=True)
        if not self.is_done and self._finish_reason is None:
            raise ModelError("the model's answer ended early", retryable=True)
        message = _Message(content="".join(self._content), refusal="".join(self._refusal))
        choices = [_Choice(message=message, finish_reason=self._finish_reason)] if self._has_choice else []
        return _ChatCompletion(model=self._model, choices=choices, usage=self._usage)


def _stream_error(error: JsonValue) -> ModelError:
    code = error.get("code") if isinstance(error, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    retryable = is_retryable(code) if isinstance(code, int) and code >= 400 else True
    return ModelError(
        f"the model's provider reported an error: {truncate(str(message or error), 300)}", retryable=retryable
    )


SchemaT = TypeVar("SchemaT", bound=BaseModel)


def _parse(schema: type[SchemaT], content: bytes) -> SchemaT:
    try:
        # Invalid UTF-8 becomes replacement characters, so that the rest of the text is not lost.
        return schema.model_validate_json(content.decode("utf-8", "replace"))
    except ValidationError:
        raise ModelError("the model's answer is not a chat completion", retryable=True) from None


def _build_completion(completion: _ChatCompletion, model: str) -> Completion:
    if not completion.choices:
        raise ModelError("the model's answer holds no choice", retryable=True)
    choice = completion.choices[0]
    tokens = completion.usage or _Usage()
    usage = Usage(prompt_tokens=tokens.prompt_tokens, completion_tokens=tokens.completion_tokens, model_calls=1)
    if choice.finish_reason == "content_filter":
        raise ModelError("the answer was withheld by the provider's filter", retryable=False, usage=usage)
    if choice.message.refusal and not choice.message.content:
        raise ModelError(f"the model refused: {truncate(choice.message.refusal, 200)}", retryable=False, usage=usage)
    return Completion(
        text=choice.message.content or "",
        tool_calls=tuple(call.function for call in choice.message.tool_calls or ()),
        finish_reason=choice.finish_reason,
        model=completion.model or model,
        usage=usage,
        note="cut off at the model's length limit" if choice.finish_reason == "length" else "",
    )

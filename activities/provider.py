"""The model's provider: one chat completion, through the openai client, against any compatible endpoint.

Law: whatever comes back has one of two outcomes, a completion or a `ModelError`; nothing of any size gets past here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import openai
from openai._constants import RAW_RESPONSE_HEADER
from pydantic import BaseModel, JsonValue, ValidationError

from activities.errors import ModelError, classify
from groups.agents import ModelChoice
from groups.errors import brief
from groups.prompt import ChatMessage
from groups.usage import Usage

MAX_RESPONSE_BYTES = 8 * 2**20
"""More is not read: no answer of that size could enter a transcript."""

_UNREAD = {RAW_RESPONSE_HEADER: "stream"}
"""Lets the client hand over a response whose body has not been read."""


class ToolCall(BaseModel):
    """A function that the model wants called; `arguments` is JSON text as the model wrote it."""

    name: str
    arguments: str


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


class Completion(BaseModel):
    """A model's answer."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str | None
    model: str
    usage: Usage
    note: str = ""
    """What is the matter with it, though it can be used."""


class ModelProvider:
    """A client of one endpoint; retries belong to Temporal, so it makes none of its own.

    Args:
        base_url: the endpoint, up to `/v1`; None for the client's own default.
        api_key: the endpoint's key.
        default_model: for agents that name no model.
    """

    def __init__(self, base_url: str | None, api_key: str, default_model: str) -> None:
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0)
        self._default_model = default_model

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    async def complete(
        self,
        settings: ModelChoice,
        messages: Sequence[ChatMessage],
        *,
        timeout_seconds: float,
        tools: Sequence[Mapping[str, JsonValue]] = (),
    ) -> Completion:
        """Ask for one completion; with `tools`, the model must call one of them.

        Raises:
            ModelError: there is no usable answer.
        """
        model = settings.model or self._default_model
        body: dict[str, Any] = {"model": model, "messages": messages, **settings.extra}
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.max_tokens is not None:
            body["max_completion_tokens"] = settings.max_tokens
        if tools:
            body |= {"tools": tools, "tool_choice": "required"}
        content = await self._post(body, timeout_seconds)
        return _completion(content, model)

    async def _post(self, body: dict[str, Any], timeout_seconds: float) -> bytes:
        # The typed method transforms every message of the prompt, which costs more than the whole rest of a turn.
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await self._client.post(
                    "/chat/completions",
                    cast_to=httpx2.Response,
                    body=body,
                    options={"timeout": timeout_seconds, "headers": _UNREAD},
                )
                return await _read(response)
        except openai.APIError as error:
            raise classify(error) from error
        except TimeoutError:
            raise ModelError("the model did not answer in time", retryable=True) from None
        except httpx2.HTTPError as error:
            broken = f"the connection to the model's provider broke ({type(error).__name__})"
            raise ModelError(broken, retryable=True) from error


async def _read(response: httpx2.Response) -> bytes:
    """The body, unless it is larger than anything that could be used."""
    content = bytearray()
    try:
        async for part in response.aiter_bytes():
            content += part
            if len(content) > MAX_RESPONSE_BYTES:
                raise ModelError(f"the model's answer has more than {MAX_RESPONSE_BYTES} bytes", retryable=True)
    finally:
        await response.aclose()
    return bytes(content)


def _completion(content: bytes, model: str) -> Completion:
    try:
        # Bytes that are no UTF-8 become replacement characters: the words around them stand.
        answer = _ChatCompletion.model_validate_json(content.decode("utf-8", "replace"))
    except ValidationError:
        raise ModelError("the model's answer is not a chat completion", retryable=True) from None
    if not answer.choices:
        raise ModelError("the model's answer holds no choice", retryable=True)
    choice = answer.choices[0]
    tokens = answer.usage or _Usage()
    usage = Usage(prompt_tokens=tokens.prompt_tokens, completion_tokens=tokens.completion_tokens, model_calls=1)
    if choice.finish_reason == "content_filter":
        raise ModelError("the answer was withheld by the provider's filter", retryable=False, usage=usage)
    if choice.message.refusal and not choice.message.content:
        raise ModelError(f"the model refused: {brief(choice.message.refusal, 200)}", retryable=False, usage=usage)
    return Completion(
        text=choice.message.content or "",
        tool_calls=tuple(call.function for call in choice.message.tool_calls or ()),
        finish_reason=choice.finish_reason,
        model=answer.model or model,
        usage=usage,
        note="cut off at the model's length limit" if choice.finish_reason == "length" else "",
    )

"""The model's provider: one chat completion, through the openai client, against any compatible endpoint.

Law: that somebody listens to the words as they come changes nothing about what comes of the call.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
from openai._constants import RAW_RESPONSE_HEADER
from pydantic import JsonValue

from tertulia.activities.completions import Completion, OnWords, ToolCall, read_answer
from tertulia.activities.errors import ModelError, classify, is_retryable
from tertulia.core.agents import ModelChoice
from tertulia.core.prompt import ChatMessage

__all__ = ["Completion", "ModelProvider", "ToolCall"]

_UNREAD = {RAW_RESPONSE_HEADER: "stream"}
"""Lets the client hand over a response whose body has not been read."""
_STREAMED: dict[str, JsonValue] = {"stream": True, "stream_options": {"include_usage": True}}


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
        self._unstreamed: set[str] = set()
        """The models that were seen to answer, but not word by word."""

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
        on_words: OnWords | None = None,
    ) -> Completion:
        """Ask for one completion; with `tools`, the model must call one of them.

        `on_words` hears the answer's words as they come, where the endpoint can stream.

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
        if tools or "stream" in body or model in self._unstreamed:
            on_words = None
        async with _classified(timeout_seconds):
            if on_words is None:
                response = await self._post(body, timeout_seconds)
            else:
                response = await self._post_streamed(body, timeout_seconds)
            return await read_answer(response, model, on_words)

    async def _post_streamed(self, body: dict[str, Any], timeout_seconds: float) -> httpx2.Response:
        try:
            return await self._post(body | _STREAMED, timeout_seconds)
        except openai.APIStatusError as error:
            if is_retryable(error.status_code):
                raise
        # The request was refused. If it is not without the stream, that was the reason.
        response = await self._post(body, timeout_seconds)
        self._unstreamed.add(body["model"])
        return response

    async def _post(self, body: dict[str, Any], timeout_seconds: float) -> httpx2.Response:
        # The typed method transforms every message of the prompt, which costs more than the whole rest of a turn.
        return await self._client.post(
            "/chat/completions",
            cast_to=httpx2.Response,
            body=body,
            options={"timeout": timeout_seconds, "headers": _UNREAD},
        )


@asynccontextmanager
async def _classified(timeout_seconds: float) -> AsyncIterator[None]:
    """Every way in which the call can fail becomes a `ModelError`."""
    try:
        async with asyncio.timeout(timeout_seconds):
            yield
    except openai.APIError as error:
        raise classify(error) from error
    except TimeoutError:
        raise ModelError("the model did not answer in time", retryable=True) from None
    except httpx2.HTTPError as error:
        broken = f"the connection to the model's provider broke ({type(error).__name__})"
        raise ModelError(broken, retryable=True) from error

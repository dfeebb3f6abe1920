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

from tertulia.activities.completions import Completion, TextCallback, ToolCall, read_completion
from tertulia.activities.errors import ModelError, classify_api_error, is_retryable
from tertulia.core.agents import ModelChoice
from tertulia.core.prompt import ChatMessage

__all__ = ["Completion", "ModelProvider", "ToolCall"]

_RAW_STREAM_HEADER = {RAW_RESPONSE_HEADER: "stream"}
"""Lets the client hand over a response whose body has not been read."""
_STREAM_OPTIONS: dict[str, JsonValue] = {"stream": True, "stream_options": {"include_usage": True}}


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
        self._models_without_streaming: set[str] = set()
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
        on_text: TextCallback | None = None,
    ) -> Completion:
        """Ask for one completion; with `tools`, the model must call one of them.

        `on_text` hears the answer's words as they come, where the endpoint can stream.

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
        if tools or "stream" in body or model in self._models_without_streaming:
            on_text = None
        async with _convert_errors(timeout_seconds):
            if on_text is None:
                response = await self._post(body, timeout_seconds)
            else:
                response = await self._post_streaming(body, timeout_seconds)
            return await read_completion(response, model, on_text)

    async def _post_streaming(self, body: dict[str, Any], timeout_seconds: float) -> httpx2.Response:
        try:
            return await self._post(body | _STREAM_OPTIONS, timeout_seconds)
        except openai.APIStatusError as error:
            if is_retryable(error.status_code):
                raise
        # The request was refused. If it is not without the stream, that was the reason.
        response = await self._post(body, timeout_seconds)
        self._models_without_streaming.add(body["model"])
        return response

    async def _post(self, body: dict[str, Any], timeout_seconds: float) -> httpx2.Response:
        # The typed method transforms every message of the prompt, which costs more than the whole rest of a turn.
        return await self._client.post(
            "/chat/completions",
            cast_to=httpx2.Response,
            body=body,
            options={"timeout": timeout_seconds, "headers": _RAW_STREAM_HEADER},
        )


@asynccontextmanager
async def _convert_errors(timeout_seconds: float) -> AsyncIterator[None]:
    """Every way in which the call can fail becomes a `ModelError`."""
    try:
        async with asyncio.timeout(timeout_seconds):
            yield
    except openai.APIError as error:
        raise classify_api_error(error) from error
    except TimeoutError:
        raise ModelError("the model did not answer in time", retryable=True) from None
    except httpx2.HTTPError as error:
        message = f"the connection to the model's provider broke ({type(error).__name__})"
        raise ModelError(message, retryable=True) from error

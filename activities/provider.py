"""One chat completion of an OpenAI-compatible endpoint, through the openai client.

Invariant: streaming changes only when text arrives, never the result of the call or its errors.
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
"""Makes the client return the response before its body is read."""
_STREAM_OPTIONS: dict[str, JsonValue] = {"stream": True, "stream_options": {"include_usage": True}}


class ModelProvider:
    """A client of one endpoint. It makes no retries: Temporal does.

    Args:
        base_url: the endpoint's URL, up to and including `/v1`; None = the openai client's default.
        api_key: the endpoint's key.
        default_model: the model of agents that name none.
    """

    def __init__(self, base_url: str | None, api_key: str, default_model: str) -> None:
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0)
        self._default_model = default_model
        self._models_without_streaming: set[str] = set()
        """Models that answered a request only without streaming."""

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
        """Request one completion.

        Args:
            settings: model, temperature and further parameters of the request.
            messages: the prompt.
            timeout_seconds: limit for the whole call, including the stream.
            tools: functions of which the model must call one; empty = a text answer.
            on_text: called with each part of the text as it arrives, if the endpoint can stream; not used with `tools`.

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
        # Refused: if the same request succeeds without streaming, streaming was the reason. Remember that.
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

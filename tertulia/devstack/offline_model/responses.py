"""Answers as bytes: completions, stream events, errors."""

import json
from collections.abc import Iterator

from pydantic import JsonValue

from tertulia.devstack.offline_model.answers import CHARS_PER_TOKEN, TERSE_MODEL, Answer
from tertulia.devstack.offline_model.protocol import ChatRequest, InvalidRequest

_MODEL_FIELDS: dict[str, JsonValue] = {"object": "model", "created": 0, "owned_by": "tertulia"}
_ARGUMENT_CHUNK_CHARS = 24
"""Characters of a call's arguments in one event of a stream."""

_LONG_TEXT_CHARS = 50_000
_MAX_CHUNKS = 2_000


def completion_body(request: ChatRequest, identity: str, answer: Answer) -> bytes:
    """Return the body of an answer that is not streamed."""
    message: dict[str, JsonValue] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.call:
        message["tool_calls"] = [_tool_call(identity, answer.call.name, answer.call.arguments)]
    choice: JsonValue = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return _to_json_bytes(
        {
            **_envelope(request, identity, "chat.completion"),
            "choices": [choice],
            "usage": _usage(request, answer),
        }
    )


def stream(request: ChatRequest, identity: str, answer: Answer) -> Iterator[bytes]:
    """Return the server-sent events of an answer, word by word."""
    envelope = _envelope(request, identity, "chat.completion.chunk")
    with_usage = request.stream_options is not None and request.stream_options.include_usage
    if with_usage:
        envelope["usage"] = None
    for delta in _deltas(identity, answer):
        yield _event({**envelope, "choices": [_chunk(delta, None)]})
    yield _event({**envelope, "choices": [_chunk({}, answer.finish_reason)]})
    if with_usage:
        yield _event({**envelope, "choices": [], "usage": _usage(request, answer)})
    yield b"data: [DONE]\n\n"


def pieces(answer: Answer) -> list[str]:
    """Return the text of an answer as a stream sends it: single words, or larger pieces of a very long text."""
    text = answer.text or ""
    if len(text) > _LONG_TEXT_CHARS:
        size = -(-len(text) // _MAX_CHUNKS)
        return [text[begin : begin + size] for begin in range(0, len(text), size)]
    first, *others = text.split(" ")
    return [piece for piece in (first, *(f" {word}" for word in others)) if piece]


def error_body(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """Return the body of an error."""
    return _to_json_bytes({"error": {"message": message, "type": kind, "param": param, "code": code}})


def invalid_request_body(error: InvalidRequest) -> bytes:
    """Return the body for an invalid request."""
    return error_body(str(error), "invalid_request_error", param=error.param)


def models_body() -> bytes:
    """Return the list of models; requests may name any other model too."""
    names = ("offline", TERSE_MODEL)
    return _to_json_bytes({"object": "list", "data": [{**_MODEL_FIELDS, "id": name} for name in names]})


def _envelope(request: ChatRequest, identity: str, kind: str) -> dict[str, JsonValue]:
    return {
        "id": f"chatcmpl-{identity}",
        "object": kind,
        "created": 0,
        "model": request.model,
        "system_fingerprint": "offline",
    }


def _usage(request: ChatRequest, answer: Answer) -> JsonValue:
    answer_chars = len(answer.text or "") + (len(answer.call.name) + len(answer.call.arguments) if answer.call else 0)
    prompt = max(1, request.prompt_chars // CHARS_PER_TOKEN)
    completion_tokens = -(-answer_chars // CHARS_PER_TOKEN)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _deltas(identity: str, answer: Answer) -> Iterator[dict[str, JsonValue]]:
    if answer.call is None:
        yield {"role": "assistant", "content": ""}
        for piece in pieces(answer):
            yield {"content": piece}
        return
    first = _tool_call(identity, answer.call.name, "")
    yield {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **first}]}
    arguments = answer.call.arguments
    for begin in range(0, len(arguments), _ARGUMENT_CHUNK_CHARS):
        yield {
            "tool_calls": [{"index": 0, "function": {"arguments": arguments[begin : begin + _ARGUMENT_CHUNK_CHARS]}}]
        }


def _tool_call(identity: str, name: str, arguments: str) -> dict[str, JsonValue]:
    return {"id": f"call_{identity[:24]}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _chunk(delta: dict[str, JsonValue], finish_reason: str | None) -> JsonValue:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(content: JsonValue) -> bytes:
    return b"data: " + _to_json_bytes(content) + b"\n\n"


def _to_json_bytes(content: JsonValue) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

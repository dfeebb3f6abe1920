"""Answers of the offline model: a pure function of the request's body; a message or a tool call."""

import json
import re
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from tertulia.devstack.offline_model.manager import CHOOSE, FINISH, choose_speaker, find_candidates, participant_field
from tertulia.devstack.offline_model.phrases import find_topic
from tertulia.devstack.offline_model.protocol import ChatRequest, Function
from tertulia.devstack.offline_model.schemas import SchemaValueGenerator
from tertulia.devstack.offline_model.speech import compose_speech
from tertulia.devstack.offline_model.transcript import Conversation, parse_conversation

TERSE_MODEL = "offline-terse"
CHARS_PER_TOKEN = 4

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

_USE_TOOL = re.compile(r"\buse the tool [\"'`“]?([\w.-]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call with its arguments as JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice of a completion."""

    text: str | None
    call: ToolCall | None = None
    finish_reason: FinishReason = "stop"


def answer(request: ChatRequest, digest: bytes) -> tuple[Answer, str]:
    """Return the answer and the name of its speaker, which is empty if the request does not contain it.

    Raises:
        InvalidRequest: a tool call is required that cannot be made.
    """
    seed = int.from_bytes(digest[:4], "big")
    functions = request.required_functions()
    candidates = find_candidates(functions)
    conversation = parse_conversation(request, candidates)
    functions = functions or _find_requested_tools(request, conversation)
    if functions:
        return Answer(
            None, _create_tool_call(functions, candidates, conversation, seed), "tool_calls"
        ), conversation.own_name
    return _truncate(_generate_text(request, conversation, seed), request.token_limit), conversation.own_name


def _generate_text(request: ChatRequest, conversation: Conversation, seed: int) -> str:
    wanted = request.response_format
    if wanted is not None and wanted.type == "json_schema" and wanted.json_schema:
        return _to_json(
            SchemaValueGenerator(wanted.json_schema.schema_, find_topic(conversation.subject), seed).value()
        )
    if request.model == TERSE_MODEL:
        return f"This is {conversation.own_name or 'the offline model'}, in brief: {seed:08x}."
    speech = compose_speech(conversation, seed)
    return _to_json({"answer": speech}) if wanted is not None and wanted.type == "json_object" else speech


def _truncate(text: str, token_limit: int | None) -> Answer:
    if token_limit is None or len(text) <= token_limit * CHARS_PER_TOKEN:
        return Answer(text)
    return Answer(text[: token_limit * CHARS_PER_TOKEN], finish_reason="length")


def _find_requested_tools(request: ChatRequest, conversation: Conversation) -> list[Function]:
    """Return offered tools that are not required but named in the last message."""
    if not request.tools or request.tool_choice == "none" or conversation.last is None:
        return []
    if request.messages[-1].role == "tool" or not (match := _USE_TOOL.search(conversation.last.text)):
        return []
    name = match[1].rstrip(".-")
    return [tool.function for tool in request.tools if tool.function.name == name]


def _create_tool_call(
    functions: list[Function], candidates: tuple[str, ...], conversation: Conversation, seed: int
) -> ToolCall:
    by_name = {function.name: function for function in functions}
    if not candidates:
        function = functions[0]
        made = SchemaValueGenerator(function.parameters, find_topic(conversation.subject), seed).value()
        return ToolCall(function.name, _to_json(made))
    choice = choose_speaker(conversation, candidates, may_finish=FINISH in by_name)
    if choice.name is None:
        return ToolCall(FINISH, _to_json({"reason": choice.reason}))
    return ToolCall(CHOOSE, _to_json({participant_field(functions): choice.name, "reason": choice.reason}))


def _to_json(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)

"""Messages to a group, and what comes of them, as Letta's V1 API has them."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field, RootModel, field_validator

from tertulia.api.schemas.requests import PageQuery, RequestModel
from tertulia.core.commands import DEFAULT_SENDER, CommandIdText, PostMessage
from tertulia.core.errors import NotFound
from tertulia.core.ids import ConversationId
from tertulia.core.names import DisplayName
from tertulia.core.records import Message
from tertulia.core.usage import Usage

_MAX_MESSAGES = 50
_SYSTEM_SENDER = "System"
_ID_PREFIX = "message-"
_MAX_DIGITS = 18


class TextPart(RequestModel):
    """A part of a message."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset({"signature"})

    type: Literal["text"] = "text"
    text: str


_MessageText = Annotated[str, Field(min_length=1, json_schema_extra={"pattern": r"\S"})]


class MessageRequest(RequestModel):
    """Something to be said to the group."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset({"type", "otid", "sender_id", "batch_item_id", "group_id"})

    role: Literal["user", "system"] = Field(default="user", description="What a system says comes from `System`.")
    content: _MessageText | Annotated[list[TextPart], Field(min_length=1, max_length=100)]
    name: DisplayName | None = Field(default=None, description="Who says it; none of the group's agents.")
    command_id: CommandIdText | None = Field(
        default=None, description="The same id sent again counts once; null = derived from `Idempotency-Key`."
    )

    @field_validator("content")
    @classmethod
    def _check_not_blank(cls, content: str | list[TextPart]) -> str | list[TextPart]:
        if not _join_text(content).strip():
            raise ValueError("a message has words")
        return content

    @property
    def post(self) -> PostMessage:
        """The command that says it."""
        sender = self.name or (_SYSTEM_SENDER if self.role == "system" else DEFAULT_SENDER)
        return PostMessage(text=_join_text(self.content), sender=sender, command_id=self.command_id)


def _join_text(content: str | list[TextPart]) -> str:
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


class SendMessages(RequestModel):
    """Messages to a group."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset(
        """max_steps use_assistant_message assistant_message_tool_name assistant_message_tool_kwarg
        include_return_message_types enable_thinking stream_tokens include_pings""".split()
    )

    messages: tuple[MessageRequest, ...] = Field(min_length=1, max_length=_MAX_MESSAGES)
    background: bool = Field(default=False, description="Answer at once, and not when the round is over.")


class MessageQuery(PageQuery):
    """Which messages."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset(
        """use_assistant_message assistant_message_tool_name assistant_message_tool_kwarg""".split()
    )


class _Message(BaseModel):
    id: str
    date: datetime
    name: str
    """The sender."""
    content: str
    seq_id: int
    """Its number in the conversation: 1, 2, 3… without gaps."""
    conversation_id: str


class UserMessage(_Message):
    """A message to the group."""

    message_type: Literal["user_message"] = "user_message"
    sender_id: None = None


class AssistantMessage(_Message):
    """A message of an agent."""

    message_type: Literal["assistant_message"] = "assistant_message"
    sender_id: str
    turn: int


GroupMessage = Annotated[UserMessage | AssistantMessage, Field(discriminator="message_type")]

LettaStopReason = Literal["end_turn", "max_steps", "cancelled", "error"]


class StopReason(BaseModel):
    """Why the round ended."""

    message_type: Literal["stop_reason"] = "stop_reason"
    stop_reason: LettaStopReason
    reason: str
    """The same in this house's words: `max_turns`, `termination_token`, `stopped`, …"""


class UsageStatistics(BaseModel):
    """Tokens and calls of the round."""

    message_type: Literal["usage_statistics"] = "usage_statistics"
    completion_tokens: int
    prompt_tokens: int
    total_tokens: int
    step_count: int
    """Turns."""


class GroupAnswer(BaseModel):
    """The answer to messages to a group, once the round is over."""

    messages: list[GroupMessage]
    """The agents' messages."""
    stop_reason: StopReason
    usage: UsageStatistics
    conversation_id: str
    message_ids: list[str]
    """The ids under which the messages were posted: sent again with the same `Idempotency-Key`, they count once."""


class GroupEvents(RootModel[str]):
    """Server-sent events, each with one JSON object as its `data`: an `assistant_message` for each that is said, then
    the `stop_reason` and the `usage_statistics`; at last `[DONE]`."""


class MessagesAccepted(BaseModel):
    """Receipt of messages to a group that are processed in the background."""

    conversation_id: str
    message_ids: list[str]


_LETTA_REASONS: dict[str, LettaStopReason] = {
    "termination_token": "end_turn",
    "manager_finish": "end_turn",
    "all_passed": "end_turn",
    "max_turns": "max_steps",
    "operator_stop": "cancelled",
    "paused": "cancelled",
    "cancelled": "cancelled",
}


def stop_reason(reason: str | None, *, one_turn_each: bool) -> StopReason:
    """The reason in Letta's words.

    Args:
        reason: this house's; several that hold together have a `+` between them.
        everyone_once: whether the round was to give everyone the floor once, so that its end is no limit.
    """
    first = (reason or "").partition("+")[0]
    letta_reason = _LETTA_REASONS.get(first, "max_steps" if "budget" in first else "error")
    if first == "max_turns" and one_turn_each:
        letta_reason = "end_turn"
    return StopReason(stop_reason=letta_reason, reason=reason or "")


def usage_statistics(usage: Usage, turns: int) -> UsageStatistics:
    """The cost in this shape."""
    return UsageStatistics(
        completion_tokens=usage.completion_tokens,
        prompt_tokens=usage.prompt_tokens,
        total_tokens=usage.total_tokens,
        step_count=turns,
    )


def message_shape(conversation_id: str, message: Message) -> UserMessage | AssistantMessage:
    """The message in this shape."""
    common = {
        "id": f"{_ID_PREFIX}{conversation_id}-{message.seq}",
        "date": message.created_at,
        "name": message.sender,
        "content": message.text,
        "seq_id": message.seq,
        "conversation_id": conversation_id,
    }
    if message.role == "user":
        return UserMessage.model_validate(common)
    return AssistantMessage.model_validate({**common, "sender_id": message.sender_id, "turn": message.turn})


def parse_message_id(message_id: str, conversation_id: ConversationId | None, field: str) -> int:
    """The number of the message of that id.

    Raises:
        NotFound: it is none of this conversation's.
    """
    prefix, _, number = message_id.removeprefix(_ID_PREFIX).rpartition("-")
    if prefix != conversation_id or not (number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS):
        raise NotFound(f"{field}: no such message: {message_id!r}")
    return int(number)

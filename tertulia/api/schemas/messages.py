"""Messages to a group and their answers, in the shapes of Letta's V1 API."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, RootModel, field_validator

from tertulia.api.schemas.requests import PageQuery, RequestModel
from tertulia.api.schemas.responses import ResponseModel
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
    """Text part of a message."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset({"signature"})

    type: Literal["text"] = "text"
    text: str


_MessageText = Annotated[str, Field(min_length=1, json_schema_extra={"pattern": r"\S"})]


class MessageRequest(RequestModel):
    """A message to the group."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset({"type", "otid", "sender_id", "batch_item_id", "group_id"})

    role: Literal["user", "system"] = Field(default="user", description="`system`: the sender is `System`.")
    content: _MessageText | Annotated[list[TextPart], Field(min_length=1, max_length=100)]
    name: DisplayName | None = Field(default=None, description="Name of the sender; not the name of a member.")
    command_id: CommandIdText | None = Field(
        default=None,
        description="Idempotency key: a repeated id is posted once. Null = derived from `Idempotency-Key`.",
    )

    @field_validator("content")
    @classmethod
    def _check_not_blank(cls, content: str | list[TextPart]) -> str | list[TextPart]:
        if not _join_text(content).strip():
            raise ValueError("must not be blank")
        return content

    @property
    def post(self) -> PostMessage:
        """The command that posts it."""
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
    background: bool = Field(default=False, description="Answer at once instead of after the round.")


class MessageQuery(PageQuery):
    """Query for one page of messages; `before` and `after` are ids of messages."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset(
        """use_assistant_message assistant_message_tool_name assistant_message_tool_kwarg""".split()
    )


class _Message(ResponseModel):
    id: str
    date: datetime
    name: str
    """Name of the sender."""
    content: str
    seq_id: int
    """Number of the message in the conversation: 1, 2, 3… without gaps."""
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


class StopReason(ResponseModel):
    """Reason for the end of the round."""

    message_type: Literal["stop_reason"] = "stop_reason"
    stop_reason: LettaStopReason
    """The nearest of Letta's reasons."""
    reason: str
    """The exact reason: `max_turns`, `termination_token`, `operator_stop`, …"""


class UsageStatistics(ResponseModel):
    """Tokens and turns of the round."""

    message_type: Literal["usage_statistics"] = "usage_statistics"
    completion_tokens: int
    prompt_tokens: int
    total_tokens: int
    step_count: int
    """Number of turns."""


class GroupAnswer(ResponseModel):
    """Answer to messages to a group, after the round."""

    messages: list[GroupMessage]
    """Messages of the agents."""
    stop_reason: StopReason
    usage: UsageStatistics
    conversation_id: str
    message_ids: list[str]
    """Ids of the posted messages. A repeated request with the same `Idempotency-Key` has the same ids."""


class GroupEvents(RootModel[str]):
    """Server-sent events. The `data` of each is one JSON object: an `assistant_message` per message of an agent, then
    the `stop_reason` and the `usage_statistics`. The last `data` is `[DONE]`."""


class MessagesAccepted(ResponseModel):
    """Receipt for messages to a group with `background`."""

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
    """Convert the reason for the end of a round to Letta's.

    Args:
        reason: the exact reason; simultaneous reasons are joined by `+`, and the first one counts.
        one_turn_each: True if the round was planned as one turn of each member, so that its end is not a limit.
    """
    first = (reason or "").partition("+")[0]
    letta_reason = _LETTA_REASONS.get(first, "max_steps" if "budget" in first else "error")
    # Letta's clients treat `max_steps` as a cut answer; here the round was planned to end after one turn of each.
    if first == "max_turns" and one_turn_each:
        letta_reason = "end_turn"
    return StopReason(stop_reason=letta_reason, reason=reason or "")


def usage_statistics(usage: Usage, turns: int) -> UsageStatistics:
    """Convert the usage of a round to its response."""
    return UsageStatistics(
        completion_tokens=usage.completion_tokens,
        prompt_tokens=usage.prompt_tokens,
        total_tokens=usage.total_tokens,
        step_count=turns,
    )


def message_shape(conversation_id: str, message: Message) -> UserMessage | AssistantMessage:
    """Convert a message to its response."""
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
    """Return the `seq` in the id of a message.

    Args:
        message_id: the id, as in a response.
        conversation_id: the conversation that must contain the message.
        field: name of the parameter, for the error.

    Raises:
        NotFound: the conversation has no message with this id.
    """
    prefix, _, number = message_id.removeprefix(_ID_PREFIX).rpartition("-")
    if prefix != conversation_id or not (number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS):
        raise NotFound(f"{field}: no such message: {message_id!r}")
    return int(number)

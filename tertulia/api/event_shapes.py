"""Schemas of the streamed events, for the OpenAPI document only: a running stream does not validate events."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, GetJsonSchemaHandler, JsonValue, RootModel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tertulia.api.schemas.responses import ResponseModel
from tertulia.core.phases import PublicPhase
from tertulia.core.records import EventKind, MembershipChange


class _EventData(ResponseModel):
    created_at: datetime


class MessageEventData(_EventData):
    """`message`: a message was added to the transcript."""

    seq: int
    turn: int | None
    """Turn of the message; null for a posted message."""
    round: int | None
    role: Literal["user", "assistant"]
    sender_id: str | None
    sender: str
    text: str
    chosen_by: str | None = None
    """Manager, rule or policy that chose the speaker. Like the fields below, it is set for members' messages only."""
    reason: str | None = None
    """Reason for the choice of the speaker."""
    error: str | None = None
    """Failure before the answer, or a defect of the answer."""
    attempt: int | None = None
    model: str | None = None
    fallback: int | None = None
    """Index of the speaker's model that answered: 0 = its own."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class TurnStartedEventData(_EventData):
    """`turn_started`: a member's turn began."""

    turn: int
    round: int
    speaker_id: str
    speaker: str


class SpeakerChosenEventData(TurnStartedEventData):
    """`speaker_chosen`: the speaker of the next turn was chosen."""

    chosen_by: str
    reason: str


class SilentTurnEventData(TurnStartedEventData):
    """`turn_passed`, `turn_failed`, `turn_discarded`, `turn_cancelled`: a turn ended without a message."""

    epoch: int
    chosen_by: str
    reason: str
    outcome: Literal["passed", "failed", "discarded", "cancelled"]
    error: str | None
    seq: int
    """Last message of the transcript after the turn."""
    attempt: int
    model: str | None
    fallback: int
    prompt_tokens: int
    completion_tokens: int
    model_calls: int
    started_at: datetime
    finished_at: datetime


class SelectionFailedEventData(_EventData):
    """`selection_failed`: a manager did not choose a speaker."""

    turn: int
    round: int
    manager_id: str
    reason: str


class PhaseEventData(_EventData):
    """`phase`: the phase changed: a round began or ended, or the conversation was paused, resumed or closed.

    No event follows the phase `closed`.
    """

    phase: PublicPhase
    round: int
    reason: str
    """Stop reason, or the operator's reason for a pause."""
    explanation: str


class DeltaEventData(ResponseModel):
    """`delta`: part of a turn's text while the model produces it. It has no id and is not sent again."""

    turn: int
    attempt: int
    """Attempt at the turn. A higher one starts again at `offset` 0; discard the text of lower ones."""
    offset: int
    """Number of characters of the attempt before `text`."""
    text: str


class InterruptedEventData(ResponseModel):
    """`interrupted`: the source of the events does not answer. No id; the stream continues where it stopped."""

    reason: str


StreamedKind = EventKind | Literal["delta", "interrupted"]
"""Kinds of streamed events: the stored ones, which have an id, and two transient ones."""

EVENT_DATA: Mapping[StreamedKind, type[BaseModel]] = {
    "message": MessageEventData,
    "speaker_chosen": SpeakerChosenEventData,
    "turn_started": TurnStartedEventData,
    "turn_passed": SilentTurnEventData,
    "turn_failed": SilentTurnEventData,
    "turn_discarded": SilentTurnEventData,
    "turn_cancelled": SilentTurnEventData,
    "selection_failed": SelectionFailedEventData,
    "membership": MembershipChange,
    "phase": PhaseEventData,
    "delta": DeltaEventData,
    "interrupted": InterruptedEventData,
}
"""Schema of `data` by the kind of event."""


class StreamedEvent(ResponseModel):
    """One event: its lines `id`, `event` and `data`; `data` is one of these objects as JSON."""

    id: int | None = None
    """Number of the event: 1, 2, 3… without gaps; null for `delta` and `interrupted`."""
    event: StreamedKind
    data: (
        MessageEventData
        | SpeakerChosenEventData
        | TurnStartedEventData
        | SilentTurnEventData
        | SelectionFailedEventData
        | MembershipChange
        | PhaseEventData
        | DeltaEventData
        | InterruptedEventData
        | dict[str, JsonValue]
    )


class EventStreamText(RootModel[str]):
    """Server-sent events as text; each event is a `StreamedEvent`."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        events = handler(StreamedEvent.__pydantic_core_schema__)
        return {"type": "string", "contentMediaType": "text/event-stream", "contentSchema": events}

"""The events of a stream as the API's documentation shows them. Nothing is checked against them while a stream runs."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, GetJsonSchemaHandler, JsonValue, RootModel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tertulia.core.phases import PublicPhase
from tertulia.core.records import EventKind, MembershipChange


class _EventData(BaseModel):
    created_at: datetime


class MessageEventData(_EventData):
    """`message`: a message entered the transcript, a participant's or one from outside."""

    seq: int
    turn: int | None
    """The turn in which it was said; null for a message from outside."""
    round: int | None
    role: Literal["user", "assistant"]
    sender_id: str | None
    sender: str
    text: str
    chosen_by: str | None = None
    """The manager, rule or policy that chose the speaker. This field and the following are set for members' messages
    only.
    """
    reason: str | None = None
    """Why that speaker was chosen."""
    error: str | None = None
    """The failure that preceded this text, or the defect of the text."""
    attempt: int | None = None
    model: str | None = None
    fallback: int | None = None
    """Which of the speaker's models answered: 0 = its own."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class TurnStartedEventData(_EventData):
    """`turn_started`: a participant has the floor."""

    turn: int
    round: int
    speaker_id: str
    speaker: str


class SpeakerChosenEventData(TurnStartedEventData):
    """`speaker_chosen`: who has the next turn, and why."""

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
    """The last message of the transcript after the turn."""
    attempt: int
    model: str | None
    fallback: int
    prompt_tokens: int
    completion_tokens: int
    model_calls: int
    started_at: datetime
    finished_at: datetime


class SelectionFailedEventData(_EventData):
    """`selection_failed`: a manager chose nobody."""

    turn: int
    round: int
    manager_id: str
    reason: str


class PhaseEventData(_EventData):
    """`phase`: a round begins or ends, the conversation is paused, goes on, or is closed; the last ends the stream."""

    phase: PublicPhase
    round: int
    reason: str
    """Why, in a word: a stop reason, or an operator's words for a pause."""
    explanation: str


class DeltaEventData(BaseModel):
    """`delta`: words as they are said. It has no id, and is not told again to one who was cut off."""

    turn: int
    attempt: int
    """A turn that is begun anew has a higher one: what was told of it before does not count."""
    offset: int
    """Characters of the turn's text before these."""
    text: str


class StreamedEvent(BaseModel):
    """One event: its lines `id`, `event` and `data`, of which the last is one of these objects as JSON."""

    id: int | None = None
    """The event's number: 1, 2, 3… without gaps. A `delta` has none."""
    event: EventKind | Literal["delta"]
    data: (
        MessageEventData
        | SpeakerChosenEventData
        | TurnStartedEventData
        | SilentTurnEventData
        | SelectionFailedEventData
        | MembershipChange
        | PhaseEventData
        | DeltaEventData
        | dict[str, JsonValue]
    )


class EventStreamText(RootModel[str]):
    """Server-sent events as they come: text, in which each event is one of `StreamedEvent`."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        events = handler(StreamedEvent.__pydantic_core_schema__)
        return {"type": "string", "contentMediaType": "text/event-stream", "contentSchema": events}

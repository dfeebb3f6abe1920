"""Faults of the offline model. The first fault that matches a request is applied."""

from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from tertulia.devstack.offline_model.answers import Answer, ToolCall

FaultKind = Literal[
    "rate_limit",
    "server_error",
    "hang",
    "garbage",
    "empty",
    "truncated",
    "content_filter",
    "bad_choice",
    "slow",
    "oversize",
    "bad_unicode",
    "disconnect",
]

UNKNOWN_CANDIDATE = "Nobody Of That Name"
INVALID_UTF8_MARK = "\ue0ff"
"""Marks the place in a text where the bytes on the wire are no valid UTF-8."""
_DEFAULT_SIZE = 100_000


class _ControlModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Match(_ControlModel):
    """The requests that a fault applies to. Fields that are not set match every request."""

    model: str | None = None
    speaker: str | None = None
    """The name in "You are NAME" or "your turn, NAME"."""
    tool: str | None = None
    """The name of an offered tool."""


class Fault(_ControlModel):
    """One fault."""

    kind: FaultKind
    match: Match = Match()
    times: PositiveInt | None = None
    """Number of times it is applied; None = without limit."""
    retry_after_s: NonNegativeFloat | None = None
    """The `retry-after` header of a `rate_limit`, in seconds."""
    delay_ms: NonNegativeInt | None = Field(default=None, le=3_600_000)
    """Its own delay, in milliseconds, instead of the default one."""
    size: PositiveInt | None = Field(default=None, le=200_000_000)
    """Size of an `oversize` message in bytes; default 100,000."""


class Behaviour(_ControlModel):
    """The complete behaviour; setting it replaces the one before."""

    delay_ms: NonNegativeInt | None = Field(default=None, le=3_600_000)
    """Delay before each answer, in milliseconds; None = as at the start."""
    faults: tuple[Fault, ...] = Field(default=(), max_length=1_000)


@dataclass(frozen=True, slots=True)
class FaultTarget:
    """The properties of a request that faults are matched against."""

    model: str
    speaker: str
    tools: frozenset[str]


class FaultInjector:
    """The present behaviour, with the remaining uses of each fault."""

    def __init__(self, delay_ms: int = 0) -> None:
        self._initial_behaviour = Behaviour(delay_ms=delay_ms)
        self.reset()

    def reset(self) -> None:
        """Restore the behaviour of the start."""
        self.set_behaviour(self._initial_behaviour)

    def set_behaviour(self, behaviour: Behaviour) -> None:
        """Set the behaviour."""
        delay_ms = self._initial_behaviour.delay_ms if behaviour.delay_ms is None else behaviour.delay_ms
        self._delay_ms = delay_ms or 0
        self._faults = list(behaviour.faults)

    @property
    def behaviour(self) -> Behaviour:
        """Return the behaviour, with the remaining uses."""
        return Behaviour(delay_ms=self._delay_ms, faults=tuple(self._faults))

    def delay_seconds(self, fault: Fault | None) -> float:
        own = fault.delay_ms if fault else None
        return (self._delay_ms if own is None else own) / 1000

    def take_fault(self, asked: FaultTarget) -> Fault | None:
        """Return the fault for this request and reduce its remaining uses; None = no fault."""
        for index, fault in enumerate(self._faults):
            if not _matches(fault.match, asked):
                continue
            if fault.times == 1:
                del self._faults[index]
            elif fault.times is not None:
                self._faults[index] = fault.model_copy(update={"times": fault.times - 1})
            return fault
        return None


def _matches(match: Match, asked: FaultTarget) -> bool:
    return (
        (match.model is None or match.model == asked.model)
        and (match.speaker is None or match.speaker.casefold() == asked.speaker.casefold())
        and (match.tool is None or match.tool in asked.tools)
    )


def apply_fault(answer: Answer, fault: Fault, candidate_field: str) -> Answer:
    """Return the answer as this fault changes it."""
    text = answer.text or ""
    match fault.kind:
        case "empty":
            return Answer("")
        case "truncated":
            return replace(answer, text=text[: len(text) // 2], call=None, finish_reason="length")
        case "content_filter":
            return Answer("", finish_reason="content_filter")
        case "bad_choice" if answer.call:
            arguments = f'{{"{candidate_field}": "{UNKNOWN_CANDIDATE}", "reason": "told to"}}'
            return replace(answer, call=ToolCall(answer.call.name, arguments))
        case "oversize":
            return Answer(_oversize_text(text, fault.size or _DEFAULT_SIZE))
        case "bad_unicode":
            return Answer(f"{text[: len(text) // 2]}{INVALID_UTF8_MARK}{text[len(text) // 2 :]}")
    return answer


def _oversize_text(text: str, size: int) -> str:
    words = f"{text or 'More words than anyone asked for.'} "
    cut = (words * (size // len(words.encode()) + 1)).encode()[:size].decode(errors="ignore")
    return cut + "." * (size - len(cut.encode()))

"""The lines of all voices, read once from the YAML files beside this module: one file per voice, one shared."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_PLACEHOLDERS = frozenset({"topic", "deed", "name", "last", "quote"})
_PIECES = re.compile(r"\{\w*\}|(?<=[.?!])\s")
_MIN_MARKER_CHARS = 12
NEUTRAL = "neutral"
TABLE = "table"
# A temper colours a trade: "a sceptical economist" speaks as an economist.
TEMPERAMENTS = frozenset({"sceptic", "host"})


@dataclass(frozen=True, slots=True)
class Line:
    """A line with placeholders for names and words."""

    template: str
    marker: str
    """Its longest part without a placeholder, by which it is recognised in earlier messages."""

    def fill(self, words: dict[str, str]) -> str:
        return self.template.format_map(words)


def _parse_line(template: object) -> Line:
    if not isinstance(template, str):
        raise TypeError(f"a line must be text, not {template!r}")
    if unknown := set(_PLACEHOLDER.findall(template)) - _PLACEHOLDERS:
        raise ValueError(f"unknown places {sorted(unknown)} in {template!r}")
    return Line(template, max(_PLACEHOLDER.sub("\n", template).split("\n"), key=len))


Lines = tuple[Annotated[Line, BeforeValidator(_parse_line)], ...]


class _LineCollection(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Voice(_LineCollection):
    """The lines of one kind of person."""

    name: str
    words: tuple[str, ...]
    """Words in a description that select this voice."""
    openings: Annotated[Lines, Field(min_length=3)]
    arguments: Annotated[Lines, Field(min_length=12)]
    stories: Annotated[Lines, Field(min_length=3)]
    questions: Annotated[Lines, Field(min_length=3)]
    proposals: Annotated[Lines, Field(min_length=3)]
    asked: Annotated[Lines, Field(min_length=3)]
    """Questions that others ask such a person."""


class SharedLines(_LineCollection):
    """Lines for every voice."""

    answers_outsider: Lines
    returns_to_outsider: Lines
    agrees: Lines
    doubts: Lines
    concedes: Lines
    plain: Lines
    late: Lines
    goes_on: Lines
    converges: Lines
    hands_over: Lines
    asides: Lines
    ties: Lines
    """Phrases that connect a thought to the topic."""
    deed_ties: Lines
    """The same, for a topic that is an action."""
    choice_ties: Lines
    """The same, for a question whether to act; verdicts likewise."""
    verdicts: Lines

    def markers(self) -> tuple[str, ...]:
        """Texts by which shared sentences are told from a speaker's own thoughts."""
        lines = (line for kind in type(self).model_fields for line in getattr(self, kind))
        pieces = (piece.strip() for line in lines for piece in _PIECES.split(line.template))
        return tuple(piece for piece in pieces if len(piece) >= _MIN_MARKER_CHARS)


@cache
def voices() -> dict[str, Voice]:
    """Return all voices by name."""
    folder = files("tertulia.devstack.offline_model.voices")
    names = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return {name: Voice.model_validate({"name": name} | _read_yaml(name)) for name in names if name != TABLE}


@cache
def shared_lines() -> SharedLines:
    """Return the shared lines."""
    return SharedLines.model_validate(_read_yaml(TABLE))


@lru_cache(maxsize=1_024)
def find_voice(description: str) -> Voice | None:
    """Return the voice of the first profession or, failing that, temper that a description names; None = neutral."""
    matches = [(match.group().casefold(), match.start()) for match in _voice_pattern().finditer(description)]
    by_rank = sorted(matches, key=lambda match: (_voice_by_word()[match[0]] in TEMPERAMENTS, match[1]))
    return voices()[_voice_by_word()[by_rank[0][0]]] if by_rank else None


@cache
def _voice_by_word() -> dict[str, str]:
    return {word: name for name, voice in voices().items() for word in voice.words}


@cache
def _voice_pattern() -> re.Pattern[str]:
    words = sorted(_voice_by_word(), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})(?=s?\b)", re.IGNORECASE)


def _read_yaml(name: str) -> dict[str, object]:
    text = files("tertulia.devstack.offline_model.voices").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if not isinstance(content, dict):
        raise TypeError(f"{name}.yaml must be a mapping")
    return content

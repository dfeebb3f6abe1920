"""A manager's choice: whoever was addressed speaks next, or else whoever has been silent longest; enough is enough."""

import re
from dataclasses import dataclass
from functools import lru_cache

from pydantic import JsonValue

from tertulia.devstack.offline_model.protocol import Function
from tertulia.devstack.offline_model.transcript import Conversation, Utterance

CHOOSE = "choose_next_participant"
FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Choice:
    """Who speaks next and why; no name = the round is over."""

    name: str | None
    reason: str


def candidates_of(functions: list[Function]) -> tuple[str, ...]:
    """The names that a manager may choose from; none = no such function is on offer."""
    for function in functions:
        if function.name == CHOOSE:
            return next((names for _, names in _enums(function)), ())
    return ()


def participant_field(functions: list[Function]) -> str:
    """The name of the argument that takes the choice."""
    enums = (name for function in functions if function.name == CHOOSE for name, _ in _enums(function))
    return next(enums, "participant")


def choose(conversation: Conversation, candidates: tuple[str, ...], *, may_finish: bool) -> Choice:
    """Make a manager's choice among the candidates."""
    limit = conversation.brief.wishes.finish_after
    if may_finish and limit is not None and conversation.since_outside >= limit:
        return Choice(None, f"{conversation.since_outside} messages have followed the question; {limit} were asked for")
    return _addressed(conversation, candidates) or _silent_longest(conversation, candidates)


def _enums(function: Function) -> list[tuple[str, tuple[str, ...]]]:
    properties = function.parameters.get("properties")
    if not isinstance(properties, dict):
        return []
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, schema in sorted(properties.items(), key=lambda entry: entry[0] != "participant"):
        options: JsonValue = schema.get("enum") if isinstance(schema, dict) else None
        if isinstance(options, list) and options:
            found.append((name, tuple(option for option in options if isinstance(option, str))))
    return found


def _addressed(conversation: Conversation, candidates: tuple[str, ...]) -> Choice | None:
    last = conversation.last
    if last is None:
        return None
    named = [name for name in candidates if name.casefold() != last.speaker.casefold() and _position(name, last) >= 0]
    if not named:
        return None
    who = last.speaker or "The last message"
    asked = {name: place for name in named if (place := _asked_at(name, last)) >= 0}
    if asked:
        name = max(asked, key=lambda one: asked[one])
        return Choice(name, f"{who} asked {name} directly")
    answered = _spoke_before(conversation)
    others = [name for name in named if last.origin == "outside" or name.casefold() != answered]
    if not others:
        return None
    name = max(others, key=lambda one: _position(one, last))
    return Choice(name, f"{who} named {name}")


def _position(name: str, said: Utterance) -> int:
    """Where a name stands last as a whole word; -1 = nowhere."""
    if name not in said.text and name.casefold() not in said.text.casefold():
        return -1
    matches = re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", said.text, re.IGNORECASE)
    return max((match.start() for match in matches), default=-1)


def _asked_at(name: str, said: Utterance) -> int:
    """Where a sentence that turns to someone with a question names them; -1 = nowhere."""
    matches = _question_to(name).finditer(said.text)
    return max((match.start() for match in matches), default=-1)


@lru_cache(maxsize=1_024)
def _question_to(name: str) -> re.Pattern[str]:
    escaped = re.escape(name)
    calls = rf"(?:^|[.!?:—]\s+|\b(?:and|but|so|tell me|what do you think),?\s+)@?{escaped}[,:?][^.!?]*"
    ends = rf",\s+{escaped}\b[^.!?]*"
    return re.compile(rf"(?:{calls}|{ends})\?|\b(?:ask|hear)\s+(?:from\s+)?{escaped}(?!\w)", re.IGNORECASE)


def _spoke_before(conversation: Conversation) -> str:
    """The folded name of whom the last speaker was answering: a mention of them is no invitation."""
    last = conversation.last
    before = (said.speaker.casefold() for said in reversed(conversation.utterances[:-1]))
    return next((name for name in before if last and name != last.speaker.casefold()), "")


def _silent_longest(conversation: Conversation, candidates: tuple[str, ...]) -> Choice:
    heard = conversation.last_heard
    name = min(candidates, key=lambda one: heard.get(one.casefold(), -1))
    place = heard.get(name.casefold())
    if place is None:
        return Choice(name, f"{name} has not been heard yet")
    silence = len(conversation.utterances) - 1 - place
    if silence == 0:
        return Choice(name, f"{name} goes on: nobody else can be chosen")
    since = conversation.utterances[place + 1].speaker or "the last words from outside"
    return Choice(name, f"{name} has not been heard since {since} answered, {silence} message{'s' * (silence > 1)} ago")

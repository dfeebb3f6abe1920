"""The manager's selection: the member addressed last, else the one silent for longest; finish when enough was said."""

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
    """The selected speaker and the reason; no name = the round ends."""

    name: str | None
    reason: str


def find_candidates(functions: list[Function]) -> tuple[str, ...]:
    """Return the names that the manager can select from; None = no selection function is offered."""
    for function in functions:
        if function.name == CHOOSE:
            return next((names for _, names in _find_enums(function)), ())
    return ()


def participant_field(functions: list[Function]) -> str:
    """Return the name of the argument that takes the selection."""
    enums = (name for function in functions if function.name == CHOOSE for name, _ in _find_enums(function))
    return next(enums, "participant")


def choose_speaker(conversation: Conversation, candidates: tuple[str, ...], *, may_finish: bool) -> Choice:
    """Make a manager's choice among the candidates."""
    limit = conversation.system_prompt.directives.finish_after
    if may_finish and limit is not None and conversation.messages_since_outside >= limit:
        return Choice(
            None, f"{conversation.messages_since_outside} messages have followed the question; {limit} were asked for"
        )
    return _choose_addressed(conversation, candidates) or _choose_longest_silent(conversation, candidates)


def _find_enums(function: Function) -> list[tuple[str, tuple[str, ...]]]:
    properties = function.parameters.get("properties")
    if not isinstance(properties, dict):
        return []
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, schema in sorted(properties.items(), key=lambda entry: entry[0] != "participant"):
        options: JsonValue = schema.get("enum") if isinstance(schema, dict) else None
        if isinstance(options, list) and options:
            found.append((name, tuple(option for option in options if isinstance(option, str))))
    return found


def _choose_addressed(conversation: Conversation, candidates: tuple[str, ...]) -> Choice | None:
    last = conversation.last
    if last is None:
        return None
    named = [
        name for name in candidates if name.casefold() != last.speaker.casefold() and _last_mention(name, last) >= 0
    ]
    if not named:
        return None
    sender = last.speaker or "The last message"
    asked = {name: place for name in named if (place := _last_question(name, last)) >= 0}
    if asked:
        name = max(asked, key=lambda one: asked[one])
        return Choice(name, f"{sender} asked {name} directly")
    answered = _previous_speaker(conversation)
    others = [name for name in named if last.origin == "outside" or name.casefold() != answered]
    if not others:
        return None
    name = max(others, key=lambda one: _last_mention(one, last))
    return Choice(name, f"{sender} named {name}")


def _last_mention(name: str, utterance: Utterance) -> int:
    """Return the position of the last occurrence of a name as a whole word; -1 = none."""
    if name not in utterance.text and name.casefold() not in utterance.text.casefold():
        return -1
    matches = re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", utterance.text, re.IGNORECASE)
    return max((match.start() for match in matches), default=-1)


def _last_question(name: str, utterance: Utterance) -> int:
    """Return the position at which the last question to somebody names them; -1 = none."""
    matches = _question_pattern(name).finditer(utterance.text)
    return max((match.start() for match in matches), default=-1)


@lru_cache(maxsize=1_024)
def _question_pattern(name: str) -> re.Pattern[str]:
    escaped = re.escape(name)
    calls = rf"(?:^|[.!?:—]\s+|\b(?:and|but|so|tell me|what do you think),?\s+)@?{escaped}[,:?][^.!?]*"
    ends = rf",\s+{escaped}\b[^.!?]*"
    return re.compile(rf"(?:{calls}|{ends})\?|\b(?:ask|hear)\s+(?:from\s+)?{escaped}(?!\w)", re.IGNORECASE)


def _previous_speaker(conversation: Conversation) -> str:
    """Return the folded name of the member whom the last speaker answered: mentioning them is no invitation."""
    last = conversation.last
    before = (utterance.speaker.casefold() for utterance in reversed(conversation.utterances[:-1]))
    return next((name for name in before if last and name != last.speaker.casefold()), "")


def _choose_longest_silent(conversation: Conversation, candidates: tuple[str, ...]) -> Choice:
    last_positions = conversation.last_positions
    name = min(candidates, key=lambda one: last_positions.get(one.casefold(), -1))
    place = last_positions.get(name.casefold())
    if place is None:
        return Choice(name, f"{name} has not been heard yet")
    silence = len(conversation.utterances) - 1 - place
    if silence == 0:
        return Choice(name, f"{name} goes on: nobody else can be chosen")
    since = conversation.utterances[place + 1].speaker or "the last words from outside"
    return Choice(name, f"{name} has not been heard since {since} answered, {silence} message{'s' * (silence > 1)} ago")

"""Composing a speech: independent parts, each chosen by the request's digest, none that already stands in the talk."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from tertulia.devstack.offline_model.phrases import asks_whether, deed_of, quotations, topic_of
from tertulia.devstack.offline_model.transcript import Conversation, Utterance
from tertulia.devstack.offline_model.voices import NEUTRAL, Line, Voice, table, voice_for, voices

PASS = "PASS"

Shape = tuple[str, ...]

_OPENING: tuple[Shape, ...] = (
    ("openings", "arguments", "turn"),
    ("answers_outsider", "openings", "questions"),
    ("openings", "stories", "turn"),
    ("answers_outsider", "arguments", "ties"),
    ("openings", "arguments", "ties"),
)
_ANSWERING: tuple[Shape, ...] = (
    ("returns_to_outsider", "arguments", "turn"),
    ("answers_outsider", "stories", "ties"),
    ("returns_to_outsider", "proposals", "turn"),
    ("openings", "arguments"),
    ("answers_outsider", "arguments", "questions"),
)
_MIDDLE: tuple[Shape, ...] = (
    ("agrees", "arguments", "turn"),
    ("doubts", "arguments", "ties"),
    ("plain", "stories", "ties"),
    ("doubts", "questions"),
    ("arguments", "ties", "turn"),
    ("agrees", "stories", "turn"),
    ("concedes", "arguments", "ties"),
    ("doubts", "stories"),
    ("plain", "arguments", "asides"),
    ("agrees", "questions"),
    ("stories", "ties", "questions"),
    ("doubts", "arguments", "turn"),
    ("plain", "arguments", "ties"),
)
_LATE: tuple[Shape, ...] = (
    ("concedes", "proposals"),
    ("converges", "arguments", "turn"),
    ("doubts", "arguments", "ties"),
    ("agrees", "proposals", "turn"),
    ("converges", "verdicts"),
    ("agrees", "stories", "ties"),
    ("plain", "proposals", "turn"),
    ("doubts", "questions"),
    ("concedes", "verdicts", "asides"),
    ("arguments", "ties", "turn"),
    ("agrees", "verdicts"),
)
_READ = 800
"""So many characters of a message are looked through for words to quote."""
_LATE_FROM = 8
_PAUSE = 2
"""For so many messages what is to be done is not named again."""
_REACTIONS = frozenset({"agrees", "doubts", "concedes"})


@dataclass(frozen=True, slots=True)
class _Speaker:
    """One who is about to speak, with all that the parts need."""

    conversation: Conversation
    voice: Voice
    seed: int

    def choose(self, kind: str, count: int) -> int:
        return zlib.crc32(kind.encode(), self.seed) % count


def speak(conversation: Conversation, seed: int) -> str:
    """What the agent says: two to four sentences, or the words its instructions ask for.

    Args:
        seed: a number from the request's digest; the same seed gives the same speech.
    """
    wishes = conversation.brief.wishes
    if wishes.pass_after is not None and conversation.since_outside >= wishes.pass_after:
        return PASS
    voice = voice_for(conversation.brief.persona) or voices()[NEUTRAL]
    speech = _compose(_Speaker(conversation, voice, seed))
    if wishes.say_after and conversation.since_outside >= wishes.say_after[1]:
        return f"{speech} {wishes.say_after[0]}"
    return speech


def _compose(speaker: _Speaker) -> str:
    conversation = speaker.conversation
    shape = _shape(speaker)
    answered = _last_of_others(conversation)
    quote = _quote(speaker, answered, shape[0]) if answered and shape[0] in _REACTIONS else ""
    if not quote and shape[1:] == ("questions",):
        shape = (shape[0], "arguments", "questions")
    words = {
        "topic": topic_of(conversation.subject),
        "deed": _deed(conversation),
        "last": answered.speaker if answered else "",
        "quote": quote,
        "name": _whom_to_ask(speaker),
    }
    parts: list[str] = []
    for kind in shape:
        if kind == "ties" and any(words["topic"] in part for part in parts):
            continue
        lines = _lines(speaker, _fitting(kind, words, asks_whether(conversation.subject)))
        if lines:
            parts.append(_capitalised(_fresh(speaker, kind, lines).filled(words)))
    return " ".join(parts)


def _deed(conversation: Conversation) -> str:
    """What is to be done, unless there is nothing or it was named just now."""
    deed = deed_of(conversation.subject)
    recent = conversation.utterances[1:][-_PAUSE:]
    return "" if any(deed in said.text for said in recent) else deed


def _shape(speaker: _Speaker) -> Shape:
    """The kinds of parts, in order. Neighbouring turns of a talk get different ones."""
    conversation = speaker.conversation
    last = conversation.last
    turns = len(conversation.utterances)
    rotation = zlib.crc32(conversation.utterances[0].text.encode()) + turns if turns else speaker.seed
    if last is None or turns == 1:
        return _OPENING[rotation % len(_OPENING)]
    if _has_come_late(conversation):
        return ("late", "arguments", "turn") if rotation % 2 else ("late", "questions")
    if last.origin == "outside":
        return _ANSWERING[rotation % len(_ANSWERING)]
    if last.origin == "self":
        return ("goes_on", "arguments", "turn")
    if conversation.since_outside >= _LATE_FROM or (turns > 2 * _LATE_FROM and conversation.since_outside > 1):
        return _LATE[rotation % len(_LATE)]
    if conversation.since_outside == 1 and rotation % 3 == 0:
        return ("plain", "openings", "arguments")
    return _MIDDLE[rotation % len(_MIDDLE)]


def _has_come_late(conversation: Conversation) -> bool:
    me = conversation.me.casefold()
    announced = any(me in notice.casefold() and "joined" in notice for notice in conversation.notices)
    spoken = me in conversation.last_heard
    return bool(me) and not spoken and (announced or conversation.since_outside > len(conversation.others) + 1)


def _fitting(kind: str, words: dict[str, str], choice: bool) -> str:
    """Another kind where this one would need words that are missing."""
    if kind in _REACTIONS and not words["quote"]:
        kind = "plain"
    if kind == "plain" and not words["last"]:
        return ""
    if kind in ("turn", "questions") and not words["name"]:
        return "asides"
    if kind == "verdicts" and not (words["deed"] and choice):
        return "proposals"
    if kind == "ties" and words["deed"]:
        return "choice_ties" if choice and len(words["last"]) % 2 else "deed_ties"
    return kind


def _lines(speaker: _Speaker, kind: str) -> Sequence[Line]:
    if kind == "turn":
        about = speaker.conversation.brief.roster.get(_whom_to_ask(speaker), "")
        asked = voice_for(about) if about else None
        return asked.asked if asked and speaker.choose("turn", 3) else table().hands_over
    return _stock(speaker.voice.name).get(kind, ())


@cache
def _stock(voice: str) -> dict[str, Sequence[Line]]:
    own = voices()[voice]
    shared = table()
    return {
        **{kind: getattr(shared, kind) for kind in type(shared).model_fields},
        **{kind: getattr(own, kind) for kind in ("openings", "arguments", "stories", "questions", "proposals")},
    }


def _fresh(speaker: _Speaker, kind: str, lines: Sequence[Line]) -> Line:
    """The first line from a chosen place on that nobody has said yet; if all were said, the one said longest ago."""
    said = speaker.conversation.all_said
    begin = speaker.choose(kind, len(lines))
    rotated = (*lines[begin:], *lines[:begin])
    for line in rotated:
        if line.marker not in said:
            return line
    return min(rotated, key=lambda line: said.rfind(line.marker))


def _last_of_others(conversation: Conversation) -> Utterance | None:
    """The last member but oneself that said more than a word or two."""
    for utterance in reversed(conversation.utterances):
        if utterance.origin == "outside":
            return None
        if utterance.origin == "member" and utterance.speaker and utterance.text.count(" ") > 2:
            return utterance
    return None


@cache
def _markers() -> tuple[str, ...]:
    return table().markers()


def _quote(speaker: _Speaker, utterance: Utterance, reaction: str) -> str:
    """Words to react to. What somebody says about themselves can be granted, but hardly doubted."""
    conversation = speaker.conversation
    names = {conversation.me, *conversation.others, *(said.speaker for said in conversation.utterances)}
    avoided = frozenset(name.casefold() for name in names if name)
    tiers = quotations(utterance.text[:_READ], avoided)
    for tier in tiers[:-1] if reaction == "doubts" else tiers:
        begin = speaker.choose("quote", len(tier) or 1)
        for quotation in (*tier[begin:], *tier[:begin]):
            used = f"'{quotation.words}'" in conversation.all_said
            if not used and not any(marker in quotation.sentence for marker in _markers()):
                return quotation.words
    return ""


def _whom_to_ask(speaker: _Speaker) -> str:
    """One of the half that has been silent longest: never oneself, nor the last speaker as long as there is a third."""
    conversation = speaker.conversation
    heard = conversation.last_heard
    silent = sorted(conversation.others, key=lambda name: heard.get(name.casefold(), -1))
    among = silent[: (len(silent) + 1) // 2]
    return among[speaker.choose("name", len(among))] if among else ""


def _capitalised(text: str) -> str:
    place = next((place for place, letter in enumerate(text) if letter.isalnum()), 0)
    return text[:place] + text[place : place + 1].upper() + text[place + 1 :]

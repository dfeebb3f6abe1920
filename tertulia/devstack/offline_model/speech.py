"""Compose a message from independent parts, selected by the request's digest, without repeating earlier ones."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from tertulia.devstack.offline_model.phrases import find_action, find_quotations, find_topic, is_yes_no_question
from tertulia.devstack.offline_model.transcript import Conversation, Utterance
from tertulia.devstack.offline_model.voices import NEUTRAL, Line, Voice, find_voice, shared_lines, voices

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
_QUOTE_SEARCH_CHARS = 800
"""Characters of a message that are searched for words to quote."""
_LATE_AFTER_MESSAGES = 8
_ACTION_REPEAT_GAP = 2
"""Messages between two mentions of the action."""
_REACTIONS = frozenset({"agrees", "doubts", "concedes"})


@dataclass(frozen=True, slots=True)
class _SpeechContext:
    """One who is about to speak, with all that the parts need."""

    conversation: Conversation
    voice: Voice
    seed: int

    def choose_index(self, kind: str, count: int) -> int:
        return zlib.crc32(kind.encode(), self.seed) % count


def compose_speech(conversation: Conversation, seed: int) -> str:
    """Compose a message: two to four sentences, or the text that the instructions ask for.

    Args:
        seed: a number from the request's digest; an equal seed gives an equal message.
    """
    directives = conversation.system_prompt.directives
    if directives.pass_after is not None and conversation.messages_since_outside >= directives.pass_after:
        return PASS
    voice = find_voice(conversation.system_prompt.persona) or voices()[NEUTRAL]
    speech = _join_parts(_SpeechContext(conversation, voice, seed))
    if directives.say_after and conversation.messages_since_outside >= directives.say_after[1]:
        return f"{speech} {directives.say_after[0]}"
    return speech


def _join_parts(speaker: _SpeechContext) -> str:
    conversation = speaker.conversation
    shape = _choose_shape(speaker)
    previous = _last_other_utterance(conversation)
    quote = _find_quote(speaker, previous, shape[0]) if previous and shape[0] in _REACTIONS else ""
    if not quote and shape[1:] == ("questions",):
        shape = (shape[0], "arguments", "questions")
    words = {
        "topic": find_topic(conversation.subject),
        "deed": _find_action_to_name(conversation),
        "last": previous.speaker if previous else "",
        "quote": quote,
        "name": _choose_addressee(speaker),
    }
    parts: list[str] = []
    for kind in shape:
        if kind == "ties" and any(words["topic"] in part for part in parts):
            continue
        lines = _find_lines(speaker, _substitute_kind(kind, words, is_yes_no_question(conversation.subject)))
        if lines:
            parts.append(_capitalise(_choose_unused_line(speaker, kind, lines).fill(words)))
    return " ".join(parts)


def _find_action_to_name(conversation: Conversation) -> str:
    """Return the action of the topic, unless it has none or the action was named recently."""
    action = find_action(conversation.subject)
    recent = conversation.utterances[1:][-_ACTION_REPEAT_GAP:]
    return "" if any(action in said.text for said in recent) else action


def _choose_shape(speaker: _SpeechContext) -> Shape:
    """Return the kinds of sentences, in order. Consecutive turns of a conversation get different ones."""
    conversation = speaker.conversation
    last = conversation.last
    turns = len(conversation.utterances)
    rotation = zlib.crc32(conversation.utterances[0].text.encode()) + turns if turns else speaker.seed
    if last is None or turns == 1:
        return _OPENING[rotation % len(_OPENING)]
    if _is_late_joiner(conversation):
        return ("late", "arguments", "turn") if rotation % 2 else ("late", "questions")
    if last.origin == "outside":
        return _ANSWERING[rotation % len(_ANSWERING)]
    if last.origin == "self":
        return ("goes_on", "arguments", "turn")
    if conversation.messages_since_outside >= _LATE_AFTER_MESSAGES or (
        turns > 2 * _LATE_AFTER_MESSAGES and conversation.messages_since_outside > 1
    ):
        return _LATE[rotation % len(_LATE)]
    if conversation.messages_since_outside == 1 and rotation % 3 == 0:
        return ("plain", "openings", "arguments")
    return _MIDDLE[rotation % len(_MIDDLE)]


def _is_late_joiner(conversation: Conversation) -> bool:
    own_name = conversation.own_name.casefold()
    announced = any(own_name in notice.casefold() and "joined" in notice for notice in conversation.notices)
    spoken = own_name in conversation.last_positions
    return (
        bool(own_name)
        and not spoken
        and (announced or conversation.messages_since_outside > len(conversation.others) + 1)
    )


def _substitute_kind(kind: str, words: dict[str, str], choice: bool) -> str:
    """Return another kind where words for this one are missing."""
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


def _find_lines(speaker: _SpeechContext, kind: str) -> Sequence[Line]:
    if kind == "turn":
        about = speaker.conversation.system_prompt.roster.get(_choose_addressee(speaker), "")
        asked = find_voice(about) if about else None
        return asked.asked if asked and speaker.choose_index("turn", 3) else shared_lines().hands_over
    return _lines_by_kind(speaker.voice.name).get(kind, ())


@cache
def _lines_by_kind(voice: str) -> dict[str, Sequence[Line]]:
    own = voices()[voice]
    shared = shared_lines()
    return {
        **{kind: getattr(shared, kind) for kind in type(shared).model_fields},
        **{kind: getattr(own, kind) for kind in ("openings", "arguments", "stories", "questions", "proposals")},
    }


def _choose_unused_line(speaker: _SpeechContext, kind: str, lines: Sequence[Line]) -> Line:
    """Return the first unused line from a chosen place on; if all were used, the one used longest ago."""
    said = speaker.conversation.full_text
    begin = speaker.choose_index(kind, len(lines))
    rotated = (*lines[begin:], *lines[:begin])
    for line in rotated:
        if line.marker not in said:
            return line
    return min(rotated, key=lambda line: said.rfind(line.marker))


def _last_other_utterance(conversation: Conversation) -> Utterance | None:
    """Return the last message of another member that is longer than a word or two."""
    for utterance in reversed(conversation.utterances):
        if utterance.origin == "outside":
            return None
        if utterance.origin == "member" and utterance.speaker and utterance.text.count(" ") > 2:
            return utterance
    return None


@cache
def _markers() -> tuple[str, ...]:
    return shared_lines().markers()


def _find_quote(speaker: _SpeechContext, utterance: Utterance, reaction: str) -> str:
    """Return a quotation to react to. Statements about oneself can be granted but hardly doubted."""
    conversation = speaker.conversation
    names = {conversation.own_name, *conversation.others, *(said.speaker for said in conversation.utterances)}
    avoided = frozenset(name.casefold() for name in names if name)
    tiers = find_quotations(utterance.text[:_QUOTE_SEARCH_CHARS], avoided)
    for tier in tiers[:-1] if reaction == "doubts" else tiers:
        begin = speaker.choose_index("quote", len(tier) or 1)
        for quotation in (*tier[begin:], *tier[:begin]):
            used = f"'{quotation.words}'" in conversation.full_text
            if not used and not any(marker in quotation.sentence for marker in _markers()):
                return quotation.words
    return ""


def _choose_addressee(speaker: _SpeechContext) -> str:
    """Return a member of the half that has been silent longest, never oneself, and not the last speaker if there is a
    third.
    """
    conversation = speaker.conversation
    last_positions = conversation.last_positions
    silent = sorted(conversation.others, key=lambda name: last_positions.get(name.casefold(), -1))
    longest_silent = silent[: (len(silent) + 1) // 2]
    return longest_silent[speaker.choose_index("name", len(longest_silent))] if longest_silent else ""


def _capitalise(text: str) -> str:
    place = next((place for place, letter in enumerate(text) if letter.isalnum()), 0)
    return text[:place] + text[place : place + 1].upper() + text[place + 1 :]

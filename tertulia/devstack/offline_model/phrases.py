"""Phrases taken from earlier messages: the topic as a noun phrase, and words to quote."""

import re
from dataclasses import dataclass
from functools import lru_cache

from tertulia.devstack.offline_model.vocabulary import (
    ACTION_OPENERS,
    ARTICLES,
    FIRST_PERSON,
    KEEP_ARTICLE,
    POSSESSIVES,
    PREDICATES,
    STOP_WORDS,
    VERBS,
    WEAK_END,
    WEAK_START,
)

_VERBAL_SUFFIXES = ("ed", "ing")
_MAX_ACTION_WORDS = 11
_WORD = re.compile(r"[^\W_][\w’'-]*|[.,;:!?()\"“”«»—–\n]")
_TOKEN_LIKE = re.compile(r"\b(?:[A-Z]{4,}|[A-Z]{2,}!)")
FALLBACK_TOPIC = "what we are discussing"

_OPEN_QUESTION = re.compile(r"\W*(?:how|what|why|which|where|when|who)\b", re.IGNORECASE)
_CUT = "\x00"
_BREAK = re.compile(r"[;:,(]")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_QUOTED = re.compile(r"(?<!\w)['‘\"“].*?['’\"”](?!\w)")


@lru_cache(maxsize=512)
def find_topic(text: str) -> str:
    """Return the topic of a text as a noun phrase for the middle of a sentence ("the second shop")."""
    phrases = _noun_phrases(_TOKEN_LIKE.sub(".", text[:600]))
    if not phrases:
        return FALLBACK_TOPIC
    action = find_action(text)
    return max(phrases, key=lambda phrase: (min(len(phrase.split()), 5), len(phrase) < 45, phrase in action))


@lru_cache(maxsize=512)
def find_action(text: str) -> str:
    """Return the action of a text, as it follows "to" ("close the main square to cars"); empty = none."""
    words = _WORD.findall(_TOKEN_LIKE.sub(".", text[:600]))
    if words and words[0].istitle() and words[0].lower() in VERBS:
        words = ["to", words[0].lower(), *words[1:]]
    for index, word in enumerate(words):
        if word.casefold() not in ACTION_OPENERS or words[index + 1 : index + 2] == ["it"]:
            continue
        if index and word == "do" and words[index - 1].casefold() == "why":
            continue
        search_words = 2 if word.casefold() in ("to", "us") else 6
        verb = next(
            (place for place in range(index + 1, min(index + search_words, len(words))) if words[place] in VERBS), 0
        )
        if verb and all(words[place][0].isalnum() for place in range(index, verb)):
            end = next((place for place in range(verb, len(words)) if not words[place][0].isalnum()), len(words))
            if 2 <= end - verb <= _MAX_ACTION_WORDS:
                return " ".join("the" if word in POSSESSIVES else word for word in words[verb:end])
    return ""


def is_yes_no_question(text: str) -> bool:
    """Return whether a text asks for a decision; "how" and "why" take the decision as made."""
    return not _OPEN_QUESTION.match(text)


def _noun_phrases(text: str) -> list[str]:
    words = _WORD.findall(text)
    phrases: list[str] = []
    index = 0
    while index < len(words):
        article = words[index].casefold() if words[index].casefold() in ARTICLES else ""
        begin = index + bool(article)
        begin += not article and words[index].casefold() in VERBS
        end = _find_phrase_end(words, begin)
        if end == begin:
            index = max(begin, index + 1)
            continue
        last = end
        if end < len(words) and words[end] == "of":
            after = end + 1 + (words[end + 1 : end + 2] != [] and words[end + 1].casefold() in ARTICLES)
            last = max(_find_phrase_end(words, after), end) if _find_phrase_end(words, after) > after else end
        phrases.append(_format_phrase(article, words[begin:last]))
        index = last
    return [phrase for phrase in phrases if len(phrase) > 3 and (" " in phrase or not phrase.endswith("ed"))]


def _find_phrase_end(words: list[str], begin: int) -> int:
    end = begin
    while end < len(words) and end - begin < 4 and words[end][0].isalnum() and words[end].casefold() not in STOP_WORDS:
        end += 1
    while end - begin > 1 and (words[end - 1].endswith(_VERBAL_SUFFIXES) or words[end - 1] in PREDICATES):
        end -= 1
    return end


def _format_phrase(article: str, words: list[str]) -> str:
    first = words[0]
    lowered = first if first.isupper() or any(letter.isupper() for letter in first[1:]) else first.lower()
    joined = " ".join([lowered if article or len(words) > 1 else first, *words[1:]])
    if not article:
        return joined
    if first.casefold() in KEEP_ARTICLE and article in ("a", "an"):
        return f"{article} {joined}"
    return f"the {joined}"


@dataclass(frozen=True, slots=True)
class Quotation:
    """Words to quote, and the sentence they come from."""

    words: str
    sentence: str


def find_quotations(text: str, avoided: frozenset[str]) -> tuple[list[Quotation], ...]:
    """Return three to ten words that carry a thought: whole sentences, then parts, then statements about oneself.

    Args:
        avoided: folded names; a text that contains one is not quoted, so that nobody is addressed by accident.
    """
    tiers: tuple[list[Quotation], ...] = ([], [], [])
    for sentence in _SENTENCE.findall(_QUOTED.sub(_CUT, text)):
        if "?" in sentence or _CUT in sentence or any(name in sentence.casefold() for name in avoided):
            continue
        parts = _BREAK.split(sentence)
        for place, piece in enumerate((sentence, *(parts if len(parts) > 1 else ()))):
            words = _clean_quotation(piece)
            if words is not None:
                personal = words.split(" ", 1)[0].casefold() in FIRST_PERSON
                tiers[2 if personal else min(place, 1)].append(Quotation(words, sentence))
    return tiers


def _clean_quotation(piece: str) -> str | None:
    words = piece.strip(" .!,;:-–—").split()
    if not 3 <= len(words) <= 10 or _TOKEN_LIKE.search(piece) or "?" in piece:
        return None
    if words[0].casefold() in WEAK_START or words[-1].casefold() in WEAK_END:
        return None
    first = words[0] if words[0] == "I" or words[0].startswith(("I'", "I’")) else words[0][0].lower() + words[0][1:]
    return " ".join([first, *words[1:]])

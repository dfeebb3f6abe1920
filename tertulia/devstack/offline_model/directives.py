"""Directives in an agent's instructions: finish, say a word or pass after a number of turns."""

import re
from dataclasses import dataclass

_WORDS = "one two three four five six seven eight nine ten eleven twelve".split()
_NUMBER = rf"(?P<number>\d{{1,6}}|{'|'.join(_WORDS)})"
_AFTER = (
    r"\b[Aa]fter\s+(?:(?:about|around|at\s+most|at\s+least|roughly|approximately|some|exactly|no\s+more\s+than|the\s+first)\s+)?"
    rf"{_NUMBER}\s+(?:[a-z]+\s+)?(?:turns?|messages?|contributions?|speeches|replies|answers|remarks|utterances)\b"
)
_TOKEN = r"""(?:["“'`«](?P<quoted>[^"”'`»\n]{1,40})["”'`»]|(?P<plain>[A-Z][A-Z0-9_-]{2,39}!?))"""
_SAY = (
    r"\b(?i:say|write|answer|reply|respond|add|put|end|finish|close|conclude)"
    r"(?:\s+(?:with|by|saying|in|your|speech|turn|message|answer|the|word|words|token|only|just|simply)){0,6}\s+"
)
_LINK = r"[\s,]+(?:(?:please|you|then|simply|just|should|must|always|also|always)\s+){0,3}"
_GAP = r"[^.?;:\n]{0,30}?"
_ENDING = r"(?i:finish|end|stop|close|conclude|wrap|enough)"

_SAY_THEN_COUNT = re.compile(f"{_SAY}{_TOKEN}{_GAP}{_AFTER}")
_COUNT_THEN_SAY = re.compile(f"{_AFTER}{_LINK}{_SAY}{_TOKEN}")
_PASS_THEN_COUNT = re.compile(rf"\b[Pp]ass\b{_GAP}{_AFTER}")
_COUNT_THEN_PASS = re.compile(rf"{_AFTER}{_LINK}pass\b")
_FINISH_THEN_COUNT = re.compile(rf"{_ENDING}[^.?\n]{{0,60}}?{_AFTER}")
_COUNT_ONLY = re.compile(_AFTER)


@dataclass(frozen=True, slots=True)
class Directives:
    """Actions once this many members' messages follow the last message from outside."""

    finish_after: int | None = None
    """For a manager: end the round."""
    say_after: tuple[str, int] | None = None
    """For a member: end the message with this word."""
    pass_after: int | None = None
    """For a member: answer PASS and nothing else."""


def parse_directives(instructions: str) -> Directives:
    """Find the directives in a system prompt. A termination word that is only mentioned is no directive."""
    if "fter" not in instructions:
        return Directives()
    say_match = _SAY_THEN_COUNT.search(instructions) or _COUNT_THEN_SAY.search(instructions)
    pass_match = _PASS_THEN_COUNT.search(instructions) or _COUNT_THEN_PASS.search(instructions)
    finish_match = _FINISH_THEN_COUNT.search(instructions) or _COUNT_ONLY.search(instructions)
    word = say_match and (say_match["quoted"] or say_match["plain"])
    pass_after = _read_count(say_match if word == "PASS" else pass_match)
    count = _read_count(say_match)
    return Directives(
        finish_after=_read_count(finish_match),
        say_after=(word, count) if word and word != "PASS" and count is not None else None,
        pass_after=pass_after,
    )


def _read_count(match: re.Match[str] | None) -> int | None:
    if match is None:
        return None
    number = match["number"]
    return int(number) if number.isdigit() else _WORDS.index(number) + 1

"""Parse a system prompt: the agent's name, the other members with their descriptions, and its directives."""

import re
from dataclasses import dataclass, field
from functools import lru_cache

from tertulia.devstack.offline_model.directives import Directives, parse_directives

_NAME = r"[^\n,.;:!?()\"“”—–]{1,64}?"
_YOU_ARE = re.compile(
    rf"\b(?:You are|Your name is|your name is|You play)\s+({_NAME})(?=[\n,.;:!?()—–]|\s+(?:a|an|the|in|at)\s|$)"
)
_YOUR_TURN = re.compile(
    r"\byour turn(?: to speak)?(?: now)?,\s*([^\n,;:!?]{1,64}?)(?=\.?\s*$|[\n,;:!?]|\.\s)", re.IGNORECASE
)
_HEADER = re.compile(
    r"^[#*\s]*(?P<title>[^:\n]{0,60}\b(?:here|present|participants?|members?|roster|table|room|others?|people|candidates?)\b"
    r"[^:\n]{0,40}):[*\s]*(?P<names>.*)$",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(?P<entry>.+)$")
_ENTRY = re.compile(
    r"^[*_`]*(?P<name>[^:(—–*`\n]{1,64}?)[*_`]*\s*(?:\((?P<aside>[^)]*)\))?\s*(?:(?::|—|–|\s-\s|,)\s*(?P<about>.*))?$"
)
_LIST_ITEM = re.compile(r"[^,;(]+(?:\([^)]*\))?")
_NOT_A_NAME = frozenset("a an the in one now part taking also not expected free here you me nobody".split())


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    """A parsed system prompt."""

    own_name: str | None = None
    persona: str = ""
    """The text that describes the agent, without the list of members."""
    roster: dict[str, str] = field(default_factory=dict)
    """Names of the members in order, each with its description."""
    directives: Directives = field(default_factory=Directives)


@lru_cache(maxsize=256)
def parse_system_prompt(prompt: str) -> SystemPrompt:
    """Read a system prompt. The result is shared: do not change its roster."""
    lines = prompt.splitlines()
    roster, listing_begins = _read_roster(lines)
    match = _YOU_ARE.search(prompt)
    begins = match.start() if match else 0
    before_listing = sum(len(line) + 1 for line in lines[:listing_begins])
    persona = prompt[begins : max(before_listing, begins)] or prompt[begins:]
    return SystemPrompt(_find_own_name(prompt, roster), persona[:1_000], roster, parse_directives(prompt))


def find_name_in_turn_notice(text: str) -> str | None:
    """Return the name in a notice such as "It is your turn, Velma."."""
    match = _YOUR_TURN.search(text)
    return match[1].strip() if match else None


def _find_own_name(prompt: str, roster: dict[str, str]) -> str | None:
    if called := find_name_in_turn_notice(prompt):
        return called
    for match in _YOU_ARE.finditer(prompt):
        name = match[1].strip()
        first = name.split(" ", 1)[0]
        if name in roster or (first.casefold() not in _NOT_A_NAME and (first[:1].isupper() or " " not in name)):
            return name
    return None


def _read_roster(lines: list[str]) -> tuple[dict[str, str], int]:
    """Return the names listed under a heading, and the line at which the list starts."""
    for number, line in enumerate(lines):
        header = _HEADER.match(line)
        if header is None or _BULLET.match(line):
            continue
        entries = (
            _LIST_ITEM.findall(header["names"].rstrip(" ."))
            if header["names"]
            else _collect_bullets(lines[number + 1 :])
        )
        roster = _parse_entries(entries)
        if roster:
            return roster, number
    bullets = [match["entry"] for line in lines if (match := _BULLET.match(line))]
    named = [entry for entry in bullets if ":" in entry and _is_name(entry.split(":", 1)[0])]
    return (_parse_entries(named) if len(named) > 1 else {}), len(lines)


def _collect_bullets(lines: list[str]) -> list[str]:
    entries: list[str] = []
    for line in lines:
        match = _BULLET.match(line)
        if match:
            entries.append(match["entry"])
        elif line.strip() or entries:
            break
    return entries


def _parse_entries(entries: list[str]) -> dict[str, str]:
    people: dict[str, str] = {}
    for listed in entries:
        for entry in re.split(r"\s+and\s+", listed) if "(" not in listed and ":" not in listed else [listed]:
            match = _ENTRY.match(entry.strip().removeprefix("and ").strip())
            name = match["name"].strip() if match else ""
            if match and name and name.casefold() not in _NOT_A_NAME and len(name.split()) <= 5:
                people[name] = " ".join(filter(None, (match["aside"], match["about"])))
    return people


def _is_name(text: str) -> bool:
    words = text.strip(" *_`").split()
    return 0 < len(words) <= 4 and all(word[:1].isupper() for word in words)

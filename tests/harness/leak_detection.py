"""Search for texts in a history's JSON, as it stands and inside base64."""

import json
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from itertools import pairwise

_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")
_DEPTH = 3


def find_leaks(document: str, *secrets: str) -> set[str]:
    """Return the secrets that can be read in this JSON."""
    readable = "\n".join(_texts_in(json.loads(document))).casefold()
    return {secret for secret in secrets if secret.casefold() in readable}


def word_pairs(texts: Iterable[str]) -> set[str]:
    """Return every two consecutive words of a text: a single word may be a name of Temporal's own."""
    pairs: set[str] = set()
    for text in texts:
        words = text.split()
        pairs |= {f"{first} {second}" for first, second in pairwise(words)}
        pairs |= {text} if len(words) == 1 else set()
    return pairs


def _texts_in(value: object, depth: int = _DEPTH) -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                yield str(key)
                yield from _texts_in(inner, depth)
        case list():
            for inner in value:
                yield from _texts_in(inner, depth)
        case str():
            yield value
            if depth and len(value) % 4 == 0 and _BASE64.fullmatch(value):
                yield from _texts_in(b64decode(value).decode(errors="replace"), depth - 1)
        case _:
            pass

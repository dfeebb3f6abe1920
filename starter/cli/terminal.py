"""What reaches the terminal: words exactly as they were said, but never its control characters."""

import json
import re
import sys
import zlib
from typing import Any

from rich.console import Console
from rich.text import Text

_PIPE_WIDTH = 1_000
_TEXT_WIDTH = 100
_COLOURS = (
    "dark_orange",
    "deep_sky_blue1",
    "green3",
    "medium_purple1",
    "gold1",
    "hot_pink",
    "turquoise2",
    "light_coral",
    "chartreuse3",
    "cornflower_blue",
    "light_salmon1",
    "orchid",
)
_OUTSIDE_COLOUR = "bold reverse"
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_UNESCAPED_CONTROLS = re.compile(r"[\x7f-\x9f]")


def console(*, stderr: bool = False) -> Console:
    """A console that prints words as they are: no markup, no emoji codes, no highlighting; no wrapping into a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def safe(text: str) -> str:
    """`text` without what would steer a terminal: each control character becomes its visible picture."""
    return _CONTROLS.sub(_picture, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """`text` on one line, safe to print."""
    return safe(" ".join(text.split()))


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code == 0x7F:
        return "␡"
    return chr(0x2400 + code) if code < 0x20 else f"<U+{code:04X}>"


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(_dumped(value, indent=2))


def print_json_line(value: Any) -> None:
    """One JSON object on one line, at once."""
    print(_dumped(value, indent=None), flush=True)


def _dumped(value: Any, indent: int | None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNESCAPED_CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


class Colours:
    """A colour for each speaker, the same in every command; two speakers share one only when there are no more."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def of(self, name: str, *, outside: bool = False) -> str:
        """The style for a speaker's name."""
        if outside:
            return _OUTSIDE_COLOUR
        if name not in self._taken:
            self._taken[name] = self._free(zlib.crc32(name.casefold().encode("utf-8", "replace")))
        return self._taken[name]

    def _free(self, preferred: int) -> str:
        used = set(self._taken.values())
        rotated = (_COLOURS[(preferred + step) % len(_COLOURS)] for step in range(len(_COLOURS)))
        return (
            f"bold {next((one for one in rotated if f'bold {one}' not in used), _COLOURS[preferred % len(_COLOURS)])}"
        )


def print_words(to: Console, text: str) -> None:
    """What somebody said, and a blank line: indented and wrapped on a terminal, verbatim anywhere else."""
    words = safe(text)
    if to.is_terminal:
        to.print(Text("\n").join(_wrapped(to, words)), soft_wrap=True)
        to.print()
    else:
        to.file.write(f"{words}\n\n")
        to.file.flush()


def last_lines(to: Console, text: str, count: int) -> list[Text]:
    """The end of what somebody is saying, as `print_words` will show it."""
    return _wrapped(to, safe(text), "dim")[-count:]


def _wrapped(to: Console, words: str, style: str = "") -> list[Text]:
    width = max(min(to.width, _TEXT_WIDTH) - 4, 20)
    return [Text("  ").append_text(line) for line in Text(words, style).wrap(to, width)]

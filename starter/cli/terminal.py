"""Print to the terminal. Invariant: text is printed verbatim, except that control characters become visible signs."""

import json
import re
import sys
import zlib
from datetime import datetime
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
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_JSON_UNESCAPED_CONTROLS = re.compile(r"[\x7f-\x9f]")


def console(*, stderr: bool = False) -> Console:
    """Return a console without markup, emoji codes and highlighting, and without wrapping into a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def escape_controls(text: str) -> str:
    """Return `text` with each control character replaced by a visible sign."""
    return _CONTROL_CHARACTERS.sub(_visible_sign, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return `text` on one line, safe to print."""
    return escape_controls(" ".join(text.split()))


def format_time(time: datetime) -> str:
    """Return a time in the local zone, ISO 8601 to the second."""
    return time.astimezone().isoformat(timespec="seconds")


def _visible_sign(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code == 0x7F:
        return "␡"
    return chr(0x2400 + code) if code < 0x20 else f"<U+{code:04X}>"


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(_dump_json(value, indent=2))


def print_json_line(value: Any) -> None:
    """Print one JSON object on one line, and flush."""
    print(_dump_json(value, indent=None), flush=True)


def _dump_json(value: Any, indent: int | None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _JSON_UNESCAPED_CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


class SpeakerColours:
    """A colour per speaker, the same in every command. Two speakers share a colour only when all are taken."""

    def __init__(self) -> None:
        self._assigned: dict[str, str] = {}

    def style_for(self, name: str, *, outside: bool = False) -> str:
        """Return the style of a speaker's name."""
        if outside:
            return _OUTSIDE_COLOUR
        if name not in self._assigned:
            self._assigned[name] = self._find_free_colour(zlib.crc32(name.casefold().encode("utf-8", "replace")))
        return self._assigned[name]

    def _find_free_colour(self, preferred: int) -> str:
        used = set(self._assigned.values())
        rotated = (_COLOURS[(preferred + step) % len(_COLOURS)] for step in range(len(_COLOURS)))
        return (
            f"bold {next((one for one in rotated if f'bold {one}' not in used), _COLOURS[preferred % len(_COLOURS)])}"
        )


def print_text(out: Console, text: str) -> None:
    """Print a message's text and a blank line: indented and wrapped on a terminal, verbatim elsewhere."""
    printable = escape_controls(text)
    if out.is_terminal:
        out.print(Text("\n").join(_wrap(out, printable)), soft_wrap=True)
        out.print()
    else:
        out.file.write(f"{printable}\n\n")
        out.file.flush()


def last_lines(out: Console, text: str, count: int) -> list[Text]:
    """Return the last `count` lines of `text`, as `print_text` will show them."""
    return _wrap(out, escape_controls(text), "dim")[-count:]


def _wrap(out: Console, text: str, style: str = "") -> list[Text]:
    width = max(min(out.width, _TEXT_WIDTH) - 4, 20)
    return [Text("  ").append_text(line) for line in Text(text, style).wrap(out, width)]

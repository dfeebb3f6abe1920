"""Text is printed verbatim and cannot control a terminal."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tertulia.starter.cli.terminal import SpeakerColours, escape_controls, one_line, print_json_line, print_text

WORDS = "[bold]a[/bold] :smile:\tb  c\n\n  " + "long " * 60 + "end"


def test_piped_text_is_verbatim() -> None:
    stream = io.StringIO()
    print_text(Console(file=stream, markup=False, emoji=False), WORDS)
    assert stream.getvalue() == f"{WORDS}\n\n"


def test_terminal_text_wraps_without_loss() -> None:
    stream = io.StringIO()
    print_text(Console(file=stream, markup=False, emoji=False, force_terminal=True, width=60, no_color=True), WORDS)
    shown = stream.getvalue()
    assert shown.split() == WORDS.split()
    assert max(len(line) for line in shown.splitlines()) <= 60


@given(st.text())
def test_control_characters_are_removed(text: str) -> None:
    shown = escape_controls(text)
    assert not any((ord(letter) < 32 and letter not in "\n\t") or 0x7F <= ord(letter) < 0xA0 for letter in shown)
    assert "\n" not in one_line(text)


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
def test_printable_text_is_unchanged(text: str) -> None:
    assert escape_controls(text) == text


def test_json_line_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\x1b[31m\x9b1m\x7f ü"
    print_json_line({"text": text})
    line = capsys.readouterr().out
    assert json.loads(line) == {"text": text}
    assert line == '{"text": "\\u001b[31m\\u009b1m\\u007f ü"}\n'


def test_speaker_colours_are_stable() -> None:
    names = [f"Speaker {number}" for number in range(12)]
    speaker_colours = SpeakerColours()
    given_first = [speaker_colours.style_for(name) for name in names]
    assert len(set(given_first)) == len(names)
    assert [speaker_colours.style_for(name) for name in names] == given_first
    assert SpeakerColours().style_for("Velma") == SpeakerColours().style_for("velma")
    assert speaker_colours.style_for("One too many")

"""Clean-up of messages before they enter the transcript."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.errors import truncate
from tertulia.core.text import clean_text, is_pass, make_preview, strip_own_name

anything = st.text(st.characters(), max_size=80)
"""Lone surrogates and control characters included."""


@given(anything, st.integers(1, 60))
def test_clean_text_can_be_stored(text: str, limit: int) -> None:
    cleaned = clean_text(text, limit)
    assert "\0" not in cleaned
    assert cleaned.encode("utf-8").decode() == cleaned
    assert len(cleaned) <= limit


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_clean_keeps_storable_text(text: str) -> None:
    assert clean_text(text, 60) == text.strip()


def test_clean_repairs_model_text() -> None:
    assert clean_text(" a\0b\ud800c\n", 100) == "ab?c"
    assert clean_text("abcdef", 4) == "abc…"
    assert clean_text("abcd", 4) == "abcd"
    assert clean_text("\0 \n", 4) == ""


@given(anything, st.integers(0, 30))
def test_preview_is_one_bounded_line(text: str, chars: int) -> None:
    line = make_preview(text, chars)
    assert len(line) <= chars
    assert line == " ".join(line.split())
    assert line.rstrip("…") in " ".join(text.split())


def test_preview_marks_omission() -> None:
    assert make_preview("one  two\nthree", 13) == "one two three"
    assert make_preview("one two three", 12) == "one two thr…"
    assert make_preview("a" + " " * 50 + "b", 10) == "a…"
    assert make_preview("secret", 0) == ""


@pytest.mark.parametrize("text", ["PASS", "pass", " Pass. ", "**PASS**", '"PASS"', "`pass`!\n"])
def test_is_pass_ignores_decoration(text: str) -> None:
    assert is_pass(text)


@pytest.mark.parametrize("text", ["", "PASS the salt", "I pass", "PASSED", "pass me that, PASS"])
def test_is_pass_refuses_mere_mentions(text: str) -> None:
    assert not is_pass(text)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("Velma: hello", "Velma", "hello"),
        ("VELMA:\n\nhello", "Velma", "hello"),
        ("Velma hello", "Velma", "Velma hello"),
        ("Velma Dinkley: hello", "Velma", "Velma Dinkley: hello"),
        ("Fred: Velma: hello", "Velma", "Fred: Velma: hello"),
        ("Weiß: hallo", "Weiß", "hallo"),
        ("WEISS: hallo", "Weiß", "WEISS: hallo"),
        ("", "Velma", ""),
    ],
)
def test_own_name_is_stripped_from_start(text: str, name: str, expected: str) -> None:
    assert strip_own_name(text, name) == expected


@given(anything, st.integers(1, 40))
def test_brief_is_one_bounded_line(text: str, limit: int) -> None:
    line = truncate(text, limit)
    assert len(line) <= limit
    assert "\n" not in line
    assert line == " ".join(text.split()) or line.endswith("…")

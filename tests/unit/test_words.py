"""Words on their way into the transcript."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.errors import truncate
from tertulia.core.text import clean_text, is_pass, make_preview, strip_own_name

anything = st.text(st.characters(), max_size=80)
"""Lone surrogates and control characters included."""


@given(anything, st.integers(1, 60))
def test_clean_words_can_be_stored(text: str, limit: int) -> None:
    cleaned = clean_text(text, limit)
    assert "\0" not in cleaned
    assert cleaned.encode("utf-8").decode() == cleaned
    assert len(cleaned) <= limit


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_words_that_can_be_stored_stay_as_they_are(text: str) -> None:
    assert clean_text(text, 60) == text.strip()


def test_what_a_model_gets_wrong_is_repaired() -> None:
    assert clean_text(" a\0b\ud800c\n", 100) == "ab?c"
    assert clean_text("abcdef", 4) == "abc…"
    assert clean_text("abcd", 4) == "abcd"
    assert clean_text("\0 \n", 4) == ""


@given(anything, st.integers(0, 30))
def test_a_preview_is_one_line_of_bounded_length(text: str, chars: int) -> None:
    line = make_preview(text, chars)
    assert len(line) <= chars
    assert line == " ".join(line.split())
    assert line.rstrip("…") in " ".join(text.split())


def test_a_preview_shows_that_something_is_left_out() -> None:
    assert make_preview("one  two\nthree", 13) == "one two three"
    assert make_preview("one two three", 12) == "one two thr…"
    assert make_preview("a" + " " * 50 + "b", 10) == "a…"
    assert make_preview("secret", 0) == ""


@pytest.mark.parametrize("text", ["PASS", "pass", " Pass. ", "**PASS**", '"PASS"', "`pass`!\n"])
def test_a_pass_is_recognised_however_it_is_dressed(text: str) -> None:
    assert is_pass(text)


@pytest.mark.parametrize("text", ["", "PASS the salt", "I pass", "PASSED", "pass me that, PASS"])
def test_words_that_only_mention_passing_are_words(text: str) -> None:
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
def test_only_the_speakers_own_name_is_taken_from_the_front(text: str, name: str, expected: str) -> None:
    assert strip_own_name(text, name) == expected


@given(anything, st.integers(1, 40))
def test_an_error_is_cut_to_one_bounded_line(text: str, limit: int) -> None:
    line = truncate(text, limit)
    assert len(line) <= limit
    assert "\n" not in line
    assert line == " ".join(text.split()) or line.endswith("…")

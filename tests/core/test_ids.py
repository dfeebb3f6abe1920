"""Readable ids of conversations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tertulia.core.ids import CONVERSATION_SUFFIX_ALPHABET, readable_conversation_id
from tertulia.core.names import Identifier

IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
SUFFIX = "7k3f9"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("The long table", "the-long-table"),
        ("  Émile's  Café: №5! ", "emile-s-cafe-no5"),
        ("Straße nach Łódź", "strasse-nach-lodz"),
        ("ＦＵＬＬ　width", "full-width"),
        ("2026", "2026"),
        ("---", "conversation"),
        ("円卓", "conversation"),
        ("Круг", "conversation"),
        ("円卓 table", "table"),
        ("", "conversation"),
        ("a" * 64, "a" * 40),
        ("one two three four five six seven eight nine", "one-two-three-four-five-six-seven-eight"),
        ("x " + "y" * 60, "x"),
        ("a" * 40 + " b", "a" * 40),
    ],
)
def test_readable_id_from_group_name(name: str, slug: str) -> None:
    assert readable_conversation_id(name, SUFFIX) == f"{slug}-{SUFFIX}"


@given(st.text(max_size=100), st.text(CONVERSATION_SUFFIX_ALPHABET, min_size=5, max_size=5))
def test_readable_id_is_a_short_identifier(name: str, suffix: str) -> None:
    made = readable_conversation_id(name, suffix)
    assert IDENTIFIER.validate_python(made) == made
    assert made.isascii() and made == made.lower() and "--" not in made
    slug, _, end = made.rpartition("-")
    assert end == suffix
    assert 0 < len(slug) <= 40
    assert readable_conversation_id(name, suffix) == made


def test_suffix_alphabet_has_no_ambiguous_letters() -> None:
    assert not set("01ilo") & set(CONVERSATION_SUFFIX_ALPHABET)
    assert len(set(CONVERSATION_SUFFIX_ALPHABET)) == len(CONVERSATION_SUFFIX_ALPHABET) == 31

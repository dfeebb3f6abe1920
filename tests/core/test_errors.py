"""The error tree and the table from codes to classes."""

import inspect

import pytest

from tertulia.core import errors
from tertulia.core.errors import (
    ERRORS_BY_CODE,
    ApiUnavailable,
    CommandRefused,
    PendingLimitExceeded,
    TertuliaError,
    Unavailable,
    error_from_code,
    truncate,
)

CLASSES = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, TertuliaError)]


def test_codes_are_unique_and_in_the_table() -> None:
    assert set(ERRORS_BY_CODE.values()) == set(CLASSES)
    assert {kind.code: kind for kind in CLASSES} == ERRORS_BY_CODE


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_states_its_code(kind: type[TertuliaError]) -> None:
    assert "code" in vars(kind)
    assert kind.__name__ in (errors.__doc__ or "")


def test_codes_of_the_first_version_are_kept() -> None:
    """They are in histories, in answers of the API and in clients of the previous version."""
    kept = {"NotFound", "CommandRefused", "ConversationClosed", "Conflict", "InvalidDefinition", "TooMuchWaits"}
    assert kept | {"Forbidden", "Unavailable", "PayloadUnreadable", "RollingOver", "IdTaken"} <= ERRORS_BY_CODE.keys()


def test_an_error_is_restored_from_its_code() -> None:
    restored = error_from_code("TooMuchWaits", "too many", default=Unavailable)
    assert (type(restored), str(restored)) == (PendingLimitExceeded, "too many")


@pytest.mark.parametrize("code", [None, "", "OfTomorrow"])
def test_unknown_code_gives_the_default(code: str | None) -> None:
    assert type(error_from_code(code, "x", default=CommandRefused)) is CommandRefused


def test_api_unavailable_keeps_a_short_reason() -> None:
    assert ApiUnavailable("no answer; is it running?", reason="no answer").reason == "no answer"
    assert ApiUnavailable("no answer").reason == "no answer"


def test_truncate_gives_one_short_line() -> None:
    assert truncate("a\n b") == "a b"
    assert truncate("abcdef", 4) == "abc…"
    assert truncate("abcdef", 0) == "…"

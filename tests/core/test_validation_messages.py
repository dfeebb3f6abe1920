"""Validation problems in plain words, with the field as the user wrote it."""

from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from tertulia.core.base import Definition, format_validation_error
from tertulia.core.group import GroupSettings, ManagerConfig, NewGroup


class Sample(Definition):
    """One field for each kind of rule."""

    text: Annotated[str, Field(min_length=2, max_length=4)] = "abc"
    code: Annotated[str, Field(pattern="^[a-z]+$")] = "abc"
    whole: int = 1
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    amount: Annotated[int, Field(gt=0, le=10)] = 1
    flag: bool = False
    kind: Literal["one", "two", "three"] = "one"
    items: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] = ("x",)
    values: dict[str, int] = {}  # noqa: RUF012
    at: datetime | None = None
    part: GroupSettings = GroupSettings()


def messages(kind: Any, value: object) -> str:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(kind).validate_python(value)
    return format_validation_error(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": "a"}, "text: must have at least 2 characters"),
        ({"text": "abcde"}, "text: must have at most 4 characters"),
        ({"text": 5}, "text: must be text"),
        ({"text": "\ud800ab"}, "text: must be valid Unicode text"),
        ({"code": "A1"}, "code: must match the pattern ^[a-z]+$"),
        ({"whole": "many"}, "whole: must be a whole number"),
        ({"whole": 1.5}, "whole: must be a whole number"),
        ({"whole": []}, "whole: must be a whole number"),
        ({"share": "half"}, "share: must be a number"),
        ({"share": -1}, "share: must be at least 0"),
        ({"share": 1}, "share: must be less than 1"),
        ({"share": float("inf")}, "share: must be a finite number"),
        ({"amount": 0}, "amount: must be greater than 0"),
        ({"amount": 11}, "amount: must be at most 10"),
        ({"flag": "perhaps"}, "flag: must be true or false"),
        ({"kind": "four"}, "kind: must be 'one', 'two' or 'three'"),
        ({"items": []}, "items: must have at least 1 item"),
        ({"items": ["a", "b", "c"]}, "items: must have at most 2 items"),
        ({"items": 3}, "items: must be a list"),
        ({"values": [1]}, "values: must be an object"),
        ({"values": {"a": "b"}}, "values.a: must be a whole number"),
        ({"at": "yesterday"}, "at: must be a date and time with a time zone, in ISO 8601 format"),
        ({"part": 3}, "part: must be an object"),
        ({"other": 1}, "other: unknown field"),
        ({"text": "a\0b"}, "text: NUL characters are not allowed: Postgres cannot store them"),
        ({"whole": "x", "kind": 1}, "whole: must be a whole number; kind: must be 'one', 'two' or 'three'"),
    ],
)
def test_message_says_what_the_value_must_be(fields: dict[str, object], message: str) -> None:
    assert messages(Sample, fields) == message


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"termination": {"type": "max_turns", "limit": 0}}, "termination.limit"),
        (
            {"termination": {"type": "any", "conditions": [{"type": "max_turns", "limit": 3}, {"type": "max_turns"}]}},
            "termination.conditions.1.limit",
        ),
        (
            {"termination": {"type": "all", "conditions": [{"type": "any", "conditions": [{"type": "token_budget"}]}]}},
            "termination.conditions.0.conditions.0.limit",
        ),
        ({"budgets": [{"tokens": 0}]}, "budgets.0.tokens"),
    ],
)
def test_path_is_as_the_user_wrote_it(settings: dict[str, object], path: str) -> None:
    assert messages(GroupSettings, settings).startswith(f"{path}: ")


def test_path_has_no_tag_of_the_manager() -> None:
    config = {"manager_type": "dynamic", "manager_agent_id": "m", "max_turns": 0}
    assert messages(ManagerConfig, config) == "max_turns: must be greater than 0"
    assert messages(NewGroup, {"manager_config": config}) == "manager_config.max_turns: must be greater than 0"
    assert messages(NewGroup, {"manager_config": {}}) == "manager_config: needs the field 'manager_type'"

"""Plain messages for validation problems: the field as the user wrote it, and what its value must be.

Invariant: no wording of pydantic reaches users, and no message repeats the invalid value.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MANAGER_TAGS = frozenset({"round_robin", "dynamic"})
_CONDITION_TAGS = frozenset({"max_turns", "termination_token", "token_budget", "time_budget", "any", "all"})

_MESSAGES: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "unknown field",
    "string_type": "must be text",
    "string_unicode": "must be valid Unicode text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "json_invalid": "must be valid JSON",
    "none_required": "must be null",
}
"""Messages by pydantic's error type, for types without parameters."""

_PARAMETRISED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda context: f"must be greater than {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}",
    "less_than": lambda context: f"must be less than {context['lt']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']:g}",
    "string_too_short": lambda context: f"must have at least {_count(context['min_length'], 'character')}",
    "string_too_long": lambda context: f"must have at most {_count(context['max_length'], 'character')}",
    "too_short": lambda context: f"must have at least {_count(context['min_length'], 'item')}",
    "too_long": lambda context: f"must have at most {_count(context['max_length'], 'item')}",
    "string_pattern_mismatch": lambda context: f"must match the pattern {context['pattern']}",
    "literal_error": lambda context: f"must be {context['expected']}",
    "enum": lambda context: f"must be {context['expected']}",
    "union_tag_not_found": lambda context: f"needs the field {context['discriminator']}",
    "union_tag_invalid": lambda context: f"{context['discriminator']} must be one of {context['expected_tags']}",
}
"""Messages by pydantic's error type, for types whose context holds the allowed range or values."""


def validation_message(problem: Mapping[str, Any]) -> str:
    """Return the message for one entry of `ValidationError.errors()`."""
    kind = problem["type"]
    if message := _MESSAGES.get(kind):
        return message
    if kind in _PARAMETRISED:
        return _PARAMETRISED[kind](problem.get("ctx", {}))
    if kind.startswith(("date", "time", "timezone")):
        return "must be a date and time with a time zone, in ISO 8601 format"
    return str(problem["msg"]).removeprefix("Value error, ")


def field_path(location: Sequence[str | int]) -> str:
    """Return the dotted path of a problem, without the tags that pydantic inserts for discriminated unions."""
    parts: list[str] = []
    previous: str | int = ""
    for part in location:
        is_tag = (part in _MANAGER_TAGS and previous in ("", "manager_config")) or (
            part in _CONDITION_TAGS and (previous == "termination" or _is_nested_condition(previous, parts))
        )
        if not is_tag:
            parts.append(str(part))
        previous = part
    return ".".join(parts)


def _is_nested_condition(previous: str | int, parts: Sequence[str]) -> bool:
    return isinstance(previous, int) and len(parts) > 1 and parts[-2] == "conditions"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

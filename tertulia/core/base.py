"""The three ways in which this project's data is strict."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from tertulia.core.errors import InvalidDefinition


class Definition(BaseModel):
    """What a person writes: frozen, and an unknown field is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _reject_nul(cls, value: Any) -> Any:
        if _has_nul(value):
            raise ValueError("no NUL characters: Postgres cannot store them")
        return value


DefinitionT = TypeVar("DefinitionT", bound=Definition)


class Record(BaseModel):
    """What programs pass to each other: frozen; unknown fields of a newer version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_has_nul(part) for pair in value.items() for part in pair)
        case list() | tuple():
            return any(_has_nul(part) for part in value)
        case _:
            return False


def format_validation_error(error: ValidationError, *, path_prefix: Sequence[str] = ()) -> str:
    """A validation error on one line, each problem with the field's path: `agents.0.name: Field required`."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        path = ".".join(str(part) for part in (*path_prefix, *problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown field"
        problems.append(f"{path}: {message}" if path else message)
    return "; ".join(problems)


def validated(kind: type[DefinitionT], **values: Any) -> DefinitionT:
    """Build a definition from values that a person wrote.

    Raises:
        InvalidDefinition: a value is invalid; the message names the field.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InvalidDefinition(format_validation_error(error)) from None

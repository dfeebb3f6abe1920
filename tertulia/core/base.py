"""Pydantic bases: `Definition` for user input (unknown fields are errors), `Record` for values between programs."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tertulia.core.errors import InvalidDefinition
from tertulia.core.validation_messages import field_path, validation_message


class Definition(BaseModel):
    """Base of user input: frozen; an unknown field is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _reject_nul(cls, value: Any) -> Any:
        if _has_nul(value):
            raise ValueError("NUL characters are not allowed: Postgres cannot store them")
        return value


DefinitionT = TypeVar("DefinitionT", bound=Definition)


class Record(BaseModel):
    """Base of values that programs pass to each other: frozen; unknown fields of a newer version are ignored."""

    # Aliases exist only for renamed fields (`wire_name`): every dump keeps the old name, every reader takes both.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True)


def wire_name(name: str) -> Any:
    """Return field metadata that keeps `name` in JSON for a field that was renamed in Python.

    For one release, workers of the previous version run beside this one, and histories, states and rows that they
    wrote are read here: so `name` is written, and both names are read.

    Example: `fallback_index: Annotated[int, wire_name("model")] = 0`
    """
    return Field(validation_alias=name, serialization_alias=name)


def wire_names(kind: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of a model's fields as `model_dump` writes them, in order: also the names of its columns."""
    return tuple(field.serialization_alias or name for name, field in kind.model_fields.items())


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
    """Format a validation error on one line, each problem with its field: `agents.0.name: is required`.

    Args:
        error: the error of a model.
        path_prefix: path of the model's place in the user's input.
    """
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        path = field_path((*path_prefix, *problem["loc"]))
        message = validation_message(problem)
        problems.append(f"{path}: {message}" if path else message)
    return "; ".join(problems)


def validated(kind: type[DefinitionT], **values: Any) -> DefinitionT:
    """Build a definition from user input.

    Raises:
        InvalidDefinition: a value is invalid; the message names the field.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InvalidDefinition(format_validation_error(error)) from None

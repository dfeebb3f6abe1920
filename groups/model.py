"""The three ways in which this project's data is strict."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, ValidationError


class Definition(BaseModel):
    """What a person writes: frozen, and an unknown field is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Record(BaseModel):
    """What programs pass to each other: frozen; unknown fields of a newer version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def explain(error: ValidationError, *, under: Sequence[str] = ()) -> str:
    """A validation error on one line, each problem with the field's path: `agents.0.name: Field required`."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        path = ".".join(str(part) for part in (*under, *problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown field"
        problems.append(f"{path}: {message}" if path else message)
    return "; ".join(problems)

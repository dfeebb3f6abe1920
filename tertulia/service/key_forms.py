"""Keys as they are asked for, and as they are shown, once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, field_validator

from tertulia.core.agents import DisplayName
from tertulia.core.base import Definition, format_validation_error
from tertulia.core.errors import InvalidDefinition
from tertulia.core.records import KeyRow
from tertulia.service.principal import SCOPES, Scope, rank

D = TypeVar("D", bound=Definition)


class NewKey(Definition):
    """A key that is to be made."""

    name: DisplayName
    """What it is for."""
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=len(SCOPES))] = ("operate",)
    """What it lets its holder do."""

    @field_validator("scopes")
    @classmethod
    def _in_order(cls, scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
        return tuple(sorted(set(scopes), key=rank))


@dataclass(frozen=True)
class MadeKey:
    """A key in the only moment in which it can be read."""

    key: KeyRow
    secret: str

    def __repr__(self) -> str:
        return f"MadeKey({self.key.id!r})"


def new_key(name: str, scopes: Sequence[str] | None = None) -> NewKey:
    """A key that is to be made, as somebody wrote it.

    Raises:
        InvalidDefinition: it cannot be made like that.
    """
    written = {"name": name} if scopes is None else {"name": name, "scopes": tuple(scopes)}
    return checked_form(NewKey, written)


def checked_form(kind: type[D], written: dict[str, Any]) -> D:
    """The definition of these values.

    Raises:
        InvalidDefinition: it cannot be like that.
    """
    try:
        return kind.model_validate(written)
    except ValidationError as error:
        raise InvalidDefinition(format_validation_error(error)) from None

"""Keys as they are asked for, and as they are shown, once."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from tertulia.core.base import Definition, format_validation_error
from tertulia.core.errors import InvalidDefinition
from tertulia.core.keys import NewKey

D = TypeVar("D", bound=Definition)


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

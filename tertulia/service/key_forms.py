"""Keys as they are asked for, and as they are shown, once."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from tertulia.core.base import Definition, format_validation_error
from tertulia.core.errors import InvalidDefinition
from tertulia.core.keys import NewKey

D = TypeVar("D", bound=Definition)


def build_new_key(name: str, scopes: Sequence[str] | None = None) -> NewKey:
    """A key that is to be made, as somebody wrote it.

    Raises:
        InvalidDefinition: it cannot be made like that.
    """
    values = {"name": name} if scopes is None else {"name": name, "scopes": tuple(scopes)}
    return validate_definition(NewKey, values)


def validate_definition(definition_type: type[D], values: dict[str, Any]) -> D:
    """The definition of these values.

    Raises:
        InvalidDefinition: it cannot be like that.
    """
    try:
        return definition_type.model_validate(values)
    except ValidationError as error:
        raise InvalidDefinition(format_validation_error(error)) from None

"""Validated forms of display names and ids."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f:]")


def _validate_display_name(name: str) -> str:
    if _CONTROL_CHARACTERS.search(name):
        raise ValueError("colons and control characters are not allowed: the name precedes messages in the transcript")
    return name


DisplayName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=64),
    AfterValidator(_validate_display_name),
    Field(json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f:]+$"}),
]
"""Display name: 1 to 64 characters on one line, without a colon."""


Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""Id: letters, digits, `.`, `_` and `-`, at most 128 characters, starting with a letter or digit."""

"""API keys as requested and as shown once, and the scopes a key can have."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from tertulia.core.base import Definition
from tertulia.core.names import DisplayName
from tertulia.core.records import KeyRow

Scope = Literal["read", "post", "operate", "admin"]
"""What a key lets its holder do; each includes those before it:

read: see everything of the organisation. post: start conversations and speak in them. operate: change agents, blocks,
groups and running conversations. admin: make and revoke keys.
"""


SCOPES: tuple[Scope, ...] = get_args(Scope)


def rank(scope: Scope) -> int:
    """A scope's place among the scopes, the widest last."""
    return SCOPES.index(scope)


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
class CreatedKey:
    """A key in the only moment in which it can be read."""

    key: KeyRow
    secret: str

    def __repr__(self) -> str:
        return f"MadeKey({self.key.id!r})"

"""API keys as requested and as shown once, and the scopes a key can have."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from tertulia.core.base import Definition
from tertulia.core.names import DisplayName
from tertulia.core.records import KeyRow

Scope = Literal["read", "post", "operate", "admin"]
"""Permission of an API key; each scope includes the previous ones:

read: read everything of the organisation. post: start conversations and post messages. operate: change agents, blocks,
groups and open conversations. admin: create and revoke keys.
"""

SCOPES: tuple[Scope, ...] = get_args(Scope)


def rank(scope: Scope) -> int:
    """Return the position of a scope in `SCOPES`; the widest scope is last."""
    return SCOPES.index(scope)


class NewKey(Definition):
    """Request to create an API key."""

    name: DisplayName
    """Purpose of the key, for people."""
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=len(SCOPES))] = ("operate",)

    @field_validator("scopes")
    @classmethod
    def _in_order(cls, scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
        return tuple(sorted(set(scopes), key=rank))


@dataclass(frozen=True)
class CreatedKey:
    """A new key with its secret, which cannot be read again."""

    key: KeyRow
    secret: str

    def __repr__(self) -> str:
        # The secret must not reach logs.
        return f"CreatedKey({self.key.id!r})"

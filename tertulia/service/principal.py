"""Who asks, and what they may do. Law: whoever holds a key sees and changes the rows of one organisation alone."""

from dataclasses import dataclass
from typing import Literal, get_args

from tertulia.core.errors import TertuliaError
from tertulia.core.ids import KeyId, OrganisationId

Scope = Literal["read", "post", "operate", "admin"]
"""What a key lets its holder do; each includes those before it:

read: see everything of the organisation. post: start conversations and speak in them. operate: change agents, blocks,
groups and running conversations. admin: make and revoke keys.
"""
SCOPES: tuple[Scope, ...] = get_args(Scope)


class Forbidden(TertuliaError):
    """The key is valid, and does not let its holder do this."""


@dataclass(frozen=True)
class Principal:
    """The holder of a key."""

    organisation_id: OrganisationId
    key_id: KeyId
    scopes: frozenset[Scope]
    """The scopes that the key was given, without those that they include."""

    def may(self, scope: Scope) -> bool:
        """Whether the key has this scope, or one that includes it."""
        return any(rank(own) >= rank(scope) for own in self.scopes)


def rank(scope: Scope) -> int:
    """A scope's place among the scopes, the widest last."""
    return SCOPES.index(scope)

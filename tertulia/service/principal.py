"""The holder of an API key. Invariant: a key gives access to the rows of one organisation."""

from dataclasses import dataclass

from tertulia.core.ids import KeyId, OrganisationId
from tertulia.core.keys import Scope, rank


@dataclass(frozen=True)
class Principal:
    """The holder of a key."""

    organisation_id: OrganisationId
    key_id: KeyId
    scopes: frozenset[Scope]
    """The scopes of the key, without those that they include."""

    def has_scope(self, scope: Scope) -> bool:
        """Return whether the key has this scope, or one that includes it."""
        return any(rank(held) >= rank(scope) for held in self.scopes)

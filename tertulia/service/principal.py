"""Holders of API keys. Invariant: a key gives access to the rows of one organisation."""

from dataclasses import dataclass

from tertulia.core.ids import KeyId, OrganisationId
from tertulia.core.keys import Scope, rank


@dataclass(frozen=True)
class Principal:
    """The holder of an API key, on whose behalf a request is made."""

    organisation_id: OrganisationId
    key_id: KeyId
    scopes: frozenset[Scope]
    """The key's own scopes; each also grants the scopes below it. See `has_scope`."""

    def has_scope(self, scope: Scope) -> bool:
        """Return whether the key has this scope or one that includes it: `admin` > `operate` > `post` > `read`."""
        return any(rank(held) >= rank(scope) for held in self.scopes)

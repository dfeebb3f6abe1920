"""API keys of an organisation: create, list, revoke, check.

Invariant: nobody grants a scope that their own key lacks. A key's secret is returned once and stored as a hash.
"""

import builtins
import hashlib
import re
import secrets
import uuid

from tertulia.core.errors import Forbidden
from tertulia.core.ids import KeyId, OrganisationId
from tertulia.core.keys import SCOPES, CreatedKey, NewKey
from tertulia.core.paging import DEFAULT_PAGE
from tertulia.core.records import KeyRow
from tertulia.service.principal import Principal
from tertulia.service.scope import OrganisationScope
from tertulia.store.database import Database
from tertulia.store.keys import (
    count_keys,
    find_key,
    insert_key,
    list_keys,
    read_key,
    record_use,
    rename_key,
    revoke_key,
)

KEY_PREFIX = "tertulia_"
_SECRET_BYTES = 32
_HINT_LENGTH = len(KEY_PREFIX) + 4
_KEY_PATTERN = re.compile(rf"{KEY_PREFIX}[A-Za-z0-9_-]{{40,64}}")


class KeyService:
    """Use cases on API keys. Methods that name a key raise `NotFound` where the organisation has none.

    Args:
        scope: the organisation.
        granted_by: the key under which this service is used; None = the operator of this system.
    """

    def __init__(self, scope: OrganisationScope, granted_by: Principal | None = None) -> None:
        self._database = scope.database
        self._organisation_id = scope.organisation_id
        self._granted_by = granted_by

    async def create(self, new: NewKey) -> CreatedKey:
        """Create a key. The result is the only place where its secret appears.

        Raises:
            Forbidden: the creating key lacks one of the scopes.
        """
        return await create_key(self._database, self._organisation_id, new, granted_by=self._granted_by)

    async def retrieve(self, key_id: str) -> KeyRow:
        """Return the key with this id, without its secret."""
        return await read_key(self._database, self._organisation_id, key_id)

    async def list(self, *, after: str | None = None, limit: int = DEFAULT_PAGE) -> builtins.list[KeyRow]:
        """Return up to `limit` keys after the key `after`, the oldest first, revoked ones included."""
        return await list_keys(self._database, self._organisation_id, after=after, limit=limit)

    async def count(self) -> int:
        """Return the number of keys, revoked ones included."""
        return await count_keys(self._database, self._organisation_id)

    async def update(self, key_id: str, *, name: str) -> KeyRow:
        """Rename a key."""
        return await rename_key(self._database, self._organisation_id, key_id, name)

    async def delete(self, key_id: str) -> KeyRow:
        """Revoke a key at once and for good. Its row stays, for the audit."""
        return await revoke_key(self._database, self._organisation_id, key_id)


async def create_key(
    database: Database, organisation_id: OrganisationId, new: NewKey, *, granted_by: Principal | None = None
) -> CreatedKey:
    """Create a key. See `KeyService.create`.

    Raises:
        Forbidden: `granted_by` lacks one of the scopes.
    """
    if granted_by is not None:
        missing = [scope for scope in new.scopes if not granted_by.has_scope(scope)]
        if missing:
            raise Forbidden(f"your key cannot grant a scope that it lacks: {', '.join(missing)}")
    secret = KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    stored = await insert_key(
        database,
        organisation_id,
        KeyId(f"key-{uuid.uuid4()}"),
        name=new.name,
        digest=_digest(secret),
        hint=secret[:_HINT_LENGTH],
        scopes=new.scopes,
    )
    return CreatedKey(stored, secret)


async def check_key(database: Database, secret: str) -> Principal | None:
    """Return the holder of a key; None for a malformed, unknown or revoked key.

    The key is looked up by its SHA-256 each time, so that a revoked key stops working at once.
    """
    if not _KEY_PATTERN.fullmatch(secret):
        return None
    found = await find_key(database, _digest(secret))
    if found is None:
        return None
    key = found.key
    if found.use_is_stale:
        await record_use(database, key.id)
    return Principal(key.organisation_id, key.id, frozenset(scope for scope in SCOPES if scope in key.scopes))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()

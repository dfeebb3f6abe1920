"""`Tertulia.keys`."""

import builtins
from collections.abc import Sequence

from tertulia.client.backend import KeyBackend
from tertulia.core.base import validated
from tertulia.core.keys import CreatedKey, NewKey
from tertulia.core.paging import MAX_PAGE
from tertulia.core.records import KeyRow


class Keys:
    """The API keys of the organisation."""

    def __init__(self, backend: KeyBackend) -> None:
        self._backend = backend

    async def create(self, name: str, *, scopes: Sequence[str] = ("operate",)) -> CreatedKey:
        """Create a key. The result is the only place where its secret appears.

        Args:
            name: what the key is for.
            scopes: of `read`, `post`, `operate`, `admin`; each includes those before it.

        Raises:
            InvalidDefinition: no such scope, or an invalid name.
            Forbidden: over HTTP, your own key lacks one of the scopes.
        """
        return await self._backend.create(validated(NewKey, name=name, scopes=tuple(scopes)))

    async def retrieve(self, key_id: str) -> KeyRow:
        """Return a key, without its secret.

        Raises:
            NotFound: no such key.
        """
        return await self._backend.retrieve(key_id)

    async def list(self, *, limit: int | None = None) -> builtins.list[KeyRow]:
        """Return the keys, the oldest first, revoked ones included.

        Args:
            limit: how many at most; None = all.
        """
        keys: builtins.list[KeyRow] = []
        while limit is None or len(keys) < limit:
            size = MAX_PAGE if limit is None else min(limit - len(keys), MAX_PAGE)
            page = await self._backend.list(after=keys[-1].id if keys else None, limit=size)
            keys += page
            if len(page) < size:
                break
        return keys

    async def count(self) -> int:
        """Return the number of keys, revoked ones included."""
        return await self._backend.count()

    async def update(self, key_id: str, *, name: str) -> KeyRow:
        """Rename a key.

        Args:
            key_id: the key.
            name: the new name, 1 to 64 characters without a colon.

        Raises:
            NotFound: no such key.
            InvalidDefinition: an invalid name.
        """
        valid_name = validated(NewKey, name=name).name
        return await self._backend.update(key_id, name=valid_name)

    async def delete(self, key_id: str) -> KeyRow:
        """Revoke a key at once and for good, and return it. It stays in the list.

        Raises:
            NotFound: no such key.
        """
        return await self._backend.delete(key_id)

"""API keys. Invariant: only the SHA-256 of a key is stored. Keys are random, so that no slower hash is needed."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import RowMapping, Select, func, insert, select, tuple_, update

from tertulia.core.errors import NotFound
from tertulia.core.ids import KeyId, OrganisationId
from tertulia.core.records import KeyRow
from tertulia.store.database import Database
from tertulia.store.paging import count
from tertulia.store.tables import api_keys

_USE_RECORDING_INTERVAL = timedelta(minutes=1)

_COLUMNS = tuple(column for column in api_keys.c if column.name != "hash")


class FoundKey(NamedTuple):
    """A valid key."""

    key: KeyRow
    use_is_stale: bool
    """True if its last use was recorded more than a minute ago."""


async def insert_key(
    database: Database,
    organisation_id: OrganisationId,
    key_id: KeyId,
    *,
    name: str,
    digest: bytes,
    hint: str,
    scopes: Sequence[str],
) -> KeyRow:
    """Insert a key."""
    values = {"id": key_id, "organisation_id": organisation_id, "name": name}
    statement = insert(api_keys).values(**values, hash=digest, hint=hint, scopes=list(scopes)).returning(*_COLUMNS)
    (row,) = await database.rows(statement)
    return _key(row._mapping)


async def find_key(database: Database, digest: bytes) -> FoundKey | None:
    """Return the valid key with this SHA-256; None if there is none."""
    use_is_stale = func.coalesce(api_keys.c.used_at < func.now() - _USE_RECORDING_INTERVAL, True)
    statement = select(*_COLUMNS, use_is_stale.label("use_is_stale")).where(
        api_keys.c.hash == digest, api_keys.c.revoked_at.is_(None)
    )
    row = await database.row(statement)
    return FoundKey(_key(row._mapping), row.use_is_stale) if row else None


async def record_use(database: Database, key_id: KeyId) -> None:
    """Record that the key is used now."""
    await database.rows(update(api_keys).where(api_keys.c.id == key_id).values(used_at=func.now()))


async def is_valid(database: Database, key_id: KeyId) -> bool:
    """Return whether the key exists and is not revoked. For work that goes on for long under one key."""
    statement = select(api_keys.c.id).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    return await database.row(statement) is not None


async def list_keys(
    database: Database, organisation_id: OrganisationId, *, after: str | None = None, limit: int = 50
) -> list[KeyRow]:
    """Return up to `limit` keys after the key `after`, the oldest first, revoked ones included.

    Raises:
        NotFound: the organisation has no key `after`.
    """
    statement = _of(organisation_id).order_by(api_keys.c.created_at, api_keys.c.id).limit(limit)
    if after is not None:
        last = await read_key(database, organisation_id, after)
        statement = statement.where(tuple_(api_keys.c.created_at, api_keys.c.id) > tuple_(last.created_at, last.id))
    return [_key(row._mapping) for row in await database.rows(statement)]


async def revoke_key(database: Database, organisation_id: OrganisationId, key_id: str) -> KeyRow:
    """Revoke a key at once and for good. Idempotent.

    Raises:
        NotFound: the organisation has no such key.
    """
    own = (api_keys.c.organisation_id == organisation_id, api_keys.c.id == key_id)
    moment = func.coalesce(api_keys.c.revoked_at, func.now())
    row = await database.row(update(api_keys).where(*own).values(revoked_at=moment).returning(*_COLUMNS))
    if row is None:
        raise _no_key(key_id)
    return _key(row._mapping)


async def rename_key(database: Database, organisation_id: OrganisationId, key_id: str, name: str) -> KeyRow:
    """Give a key another name.

    Raises:
        NotFound: the organisation has no such key.
    """
    own = (api_keys.c.organisation_id == organisation_id, api_keys.c.id == key_id)
    row = await database.row(update(api_keys).where(*own).values(name=name).returning(*_COLUMNS))
    if row is None:
        raise _no_key(key_id)
    return _key(row._mapping)


async def count_keys(database: Database, organisation_id: OrganisationId) -> int:
    """Return the number of an organisation's keys, revoked ones included."""
    return await count(database, api_keys, api_keys.c.organisation_id == organisation_id)


def _of(organisation_id: OrganisationId) -> Select[tuple[object, ...]]:
    return select(*_COLUMNS).where(api_keys.c.organisation_id == organisation_id)


async def read_key(database: Database, organisation_id: OrganisationId, key_id: str) -> KeyRow:
    """Return one key.

    Raises:
        NotFound: the organisation has no such key.
    """
    row = await database.row(_of(organisation_id).where(api_keys.c.id == key_id))
    if row is None:
        raise _no_key(key_id)
    return _key(row._mapping)


def _no_key(key_id: str) -> NotFound:
    return NotFound(f"no key {key_id!r}")


def _key(row: RowMapping) -> KeyRow:
    return KeyRow.model_validate(dict(row))

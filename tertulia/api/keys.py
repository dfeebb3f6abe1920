"""`/v1/keys`: API keys of the organisation. Invariant: only the response to its creation contains a key's secret."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query

from tertulia.api.dependencies import Keys
from tertulia.api.limits import PageSize
from tertulia.api.schemas.responses import ResponseModel
from tertulia.core.base import Definition
from tertulia.core.keys import NewKey, Scope
from tertulia.core.names import DisplayName
from tertulia.core.paging import DEFAULT_PAGE
from tertulia.core.records import KeyRow

router = APIRouter(prefix="/keys", tags=["keys"])


class Key(ResponseModel):
    """An API key, without its secret."""

    id: str
    organisation_id: str
    name: str
    hint: str
    """First characters of the key, for recognition."""
    scopes: list[Scope]
    created_at: datetime
    used_at: datetime | None
    """Last use, to the minute; null = never used."""
    revoked_at: datetime | None

    @classmethod
    def from_row(cls, row: KeyRow, **extra: str) -> Self:
        """Convert a stored key to its response; `extra` are further fields."""
        return cls.model_validate({**row.model_dump(), **extra})


class RenameKey(Definition):
    """Change of a key."""

    name: DisplayName


class CreatedKey(Key):
    """A new API key, with its secret."""

    key: str
    """The secret. It cannot be read again."""


@router.get("/", summary="List keys")
async def keys(
    service: Keys,
    after: Annotated[str | None, Query(description="Id of the last key on the previous page.")] = None,
    limit: PageSize = DEFAULT_PAGE,
) -> list[Key]:
    """List the keys of the organisation, oldest first, revoked ones included."""
    return [Key.from_row(row) for row in await service.list(after=after, limit=limit)]


@router.post("/", summary="Create a key", status_code=201)
async def create(service: Keys, body: NewKey) -> CreatedKey:
    """Create a key of the organisation. Only this response contains the secret."""
    created = await service.create(body)
    return CreatedKey.from_row(created.key, key=created.secret)


@router.get("/count", summary="Count keys")
async def count(service: Keys) -> int:
    """Return the number of keys, revoked ones included."""
    return await service.count()


@router.get("/{key_id}", summary="Retrieve a key")
async def retrieve(service: Keys, key_id: str) -> Key:
    """Return a key, without its secret."""
    return Key.from_row(await service.retrieve(key_id))


@router.patch("/{key_id}", summary="Rename a key")
async def rename(service: Keys, key_id: str, body: RenameKey) -> Key:
    """Rename a key."""
    return Key.from_row(await service.update(key_id, name=body.name))


@router.delete("/{key_id}", summary="Revoke a key")
async def revoke(service: Keys, key_id: str) -> Key:
    """Revoke a key, at once and permanently. It stays in the list."""
    return Key.from_row(await service.delete(key_id))

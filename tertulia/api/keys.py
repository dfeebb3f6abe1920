"""`/v1/keys`: the organisation's keys. Invariant: a key is readable once, in the answer to its creation."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from tertulia.api.dependencies import Keys
from tertulia.api.limits import PageSize
from tertulia.core.base import Definition
from tertulia.core.keys import NewKey, Scope
from tertulia.core.names import DisplayName
from tertulia.core.paging import DEFAULT_PAGE
from tertulia.core.records import KeyRow

router = APIRouter(prefix="/keys", tags=["keys"])


class Key(BaseModel):
    """A key, without what it opens."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    organisation_id: str
    name: str
    hint: str
    """The key's first characters, to tell it by."""
    scopes: list[Scope]
    created_at: datetime
    used_at: datetime | None
    """The time of its last use, to the minute."""
    revoked_at: datetime | None

    @classmethod
    def from_row(cls, row: KeyRow, **extra: str) -> Self:
        """Convert from a row."""
        return cls.model_validate({**row.model_dump(), **extra})


class RenameKey(Definition):
    """The new name of a key."""

    name: DisplayName


class CreatedKey(Key):
    """A key that was just made."""

    key: str
    """The key itself: it is shown this once."""


@router.get("/")
async def keys(
    service: Keys,
    after: Annotated[str | None, Query(description="The id of the last key of the page before.")] = None,
    limit: PageSize = DEFAULT_PAGE,
) -> list[Key]:
    """List your organisation's keys, the oldest first, revoked ones included."""
    return [Key.from_row(row) for row in await service.list(after=after, limit=limit)]


@router.post("/", status_code=201)
async def create(service: Keys, new: NewKey) -> CreatedKey:
    """Create a key for your organisation. The answer is the only place where the key can be read."""
    created = await service.create(new)
    return CreatedKey.from_row(created.key, key=created.secret)


@router.get("/count")
async def count(service: Keys) -> int:
    """Return the number of keys, revoked ones included."""
    return await service.count()


@router.get("/{key_id}")
async def retrieve(service: Keys, key_id: str) -> Key:
    """Return a key, without its secret."""
    return Key.from_row(await service.retrieve(key_id))


@router.patch("/{key_id}")
async def rename(service: Keys, key_id: str, body: RenameKey) -> Key:
    """Give a key another name."""
    return Key.from_row(await service.update(key_id, name=body.name))


@router.delete("/{key_id}")
async def revoke(service: Keys, key_id: str) -> Key:
    """Revoke a key at once and for good. It stays in the list."""
    return Key.from_row(await service.delete(key_id))

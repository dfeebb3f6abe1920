"""`/v1/keys`: keys of one's own organisation. Law: a key is readable once, in the answer to its making."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict

from tertulia.api.limits import PageSize
from tertulia.api.security import Administrator
from tertulia.client.client import Tertulia
from tertulia.core.keys import Scope
from tertulia.service.keys import NewKey, create_key
from tertulia.store.keys import KeyRow, list_keys, revoke_key

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
    """When it was last used, to the minute."""
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: KeyRow, **more: str) -> Self:
        """What a row tells of its key."""
        return cls.model_validate({**row.model_dump(), **more})


class MadeKey(Key):
    """A key that was just made."""

    key: str
    """The key itself: it is shown this once."""


@router.get("/")
async def keys(
    request: Request,
    principal: Administrator,
    after: Annotated[str | None, Query(description="The id of the last key of the page before.")] = None,
    limit: PageSize = 50,
) -> list[Key]:
    """Your organisation's keys, the oldest first, the revoked ones included."""
    return [
        Key.of(row)
        for row in await list_keys(_client(request).database, principal.organisation_id, after=after, limit=limit)
    ]


@router.post("/", status_code=201)
async def create(request: Request, principal: Administrator, new: NewKey) -> MadeKey:
    """Make a key for your organisation. The answer is the only place where it can be read."""
    made = await create_key(_client(request).database, principal.organisation_id, new, granted_by=principal)
    return MadeKey.of(made.key, key=made.secret)


@router.delete("/{key_id}")
async def revoke(request: Request, principal: Administrator, key_id: str) -> Key:
    """Make a key invalid, at once and for ever. It stays in the list."""
    return Key.of(await revoke_key(_client(request).database, principal.organisation_id, key_id))


def _client(request: Request) -> Tertulia:
    tertulia: Tertulia = request.app.state.tertulia
    return tertulia

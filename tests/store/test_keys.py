"""Keys: stored as hashes, found by them, revoked for good, separate for each organisation."""

import hashlib
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text, update

from tertulia.core.base import validated
from tertulia.core.errors import Forbidden, InvalidDefinition, NotFound
from tertulia.core.ids import OrganisationId
from tertulia.core.keys import CreatedKey, NewKey, Scope
from tertulia.core.organisations import NewOrganisation
from tertulia.core.records import KeyRow
from tertulia.devstack.local_key import local_key
from tertulia.service.keys import check_key, create_key
from tertulia.service.principal import Principal
from tertulia.store.database import Database
from tertulia.store.keys import is_valid, list_keys, revoke_key
from tertulia.store.organisations import create_organisation, find_organisation, list_organisations
from tertulia.store.tables import api_keys


@pytest.fixture
async def ours(database: Database) -> OrganisationId:
    return await make_organisation(database)


async def make_organisation(database: Database) -> OrganisationId:
    name = f"org-{uuid4().hex[:12]}"
    return (await create_organisation(database, validated(NewOrganisation, id=name, name=name))).id


async def make_key(database: Database, owner: OrganisationId, *scopes: Scope) -> CreatedKey:
    return await create_key(database, owner, NewKey(name="a key", scopes=scopes or ("read",)))


async def keys_of(database: Database, owner: OrganisationId) -> list[KeyRow]:
    return await list_keys(database, owner)


async def test_check_key_returns_principal(database: Database, ours: OrganisationId) -> None:
    made = await make_key(database, ours, "post", "read", "post")
    assert await check_key(database, made.secret) == Principal(ours, made.key.id, frozenset({"read", "post"}))
    assert made.key.scopes == ("read", "post")
    assert len(made.secret) == len("tertulia_") + 43


async def test_key_secret_is_not_stored(database: Database, ours: OrganisationId) -> None:
    made = await make_key(database, ours)
    row = await database.row(
        text("SELECT k::text AS words, k.hash FROM api_keys k WHERE id = :id"), {"id": made.key.id}
    )
    assert row is not None
    assert row.hash == hashlib.sha256(made.secret.encode()).digest()
    assert made.secret not in row.words and made.secret[-20:] not in row.words
    assert made.secret.startswith(made.key.hint) and len(made.key.hint) < 16
    assert made.secret not in repr(made)


async def test_check_key_unknown_is_none(database: Database, ours: OrganisationId) -> None:
    made = await make_key(database, ours)
    wrong = made.secret[:-1] + ("a" if made.secret[-1] != "a" else "b")
    for secret in (wrong, "", "tertulia_", made.key.id, made.secret + "\0", made.secret.upper(), f" {made.secret}"):
        assert await check_key(database, secret) is None


async def test_revoked_key_stops_working(database: Database, ours: OrganisationId) -> None:
    made = await make_key(database, ours)
    assert await is_valid(database, made.key.id)
    revoked = await revoke_key(database, ours, made.key.id)
    assert await check_key(database, made.secret) is None
    assert not await is_valid(database, made.key.id)
    assert revoked.revoked_at is not None
    assert await revoke_key(database, ours, made.key.id) == revoked
    assert await keys_of(database, ours) == [revoked]


async def test_keys_of_other_organisation_are_hidden(database: Database, ours: OrganisationId) -> None:
    theirs = await make_key(database, await make_organisation(database))
    with pytest.raises(NotFound, match=theirs.key.id):
        await revoke_key(database, ours, theirs.key.id)
    with pytest.raises(NotFound, match=theirs.key.id):
        await list_keys(database, ours, after=theirs.key.id)
    assert await keys_of(database, ours) == []
    assert await check_key(database, theirs.secret) is not None


async def test_list_keys_pages_oldest_first(database: Database, ours: OrganisationId) -> None:
    made = [(await make_key(database, ours)).key for _ in range(5)]
    first = await list_keys(database, ours, limit=2)
    second = await list_keys(database, ours, limit=2, after=first[-1].id)
    third = await list_keys(database, ours, limit=2, after=second[-1].id)
    assert [*first, *second, *third] == made


async def test_key_use_is_recorded_once_a_minute(database: Database, ours: OrganisationId) -> None:
    made = await make_key(database, ours)

    async def used() -> object:
        await check_key(database, made.secret)
        (row,) = await keys_of(database, ours)
        return row.used_at

    first = await used()
    assert first is not None and made.key.used_at is None
    assert await used() == first
    earlier = update(api_keys).where(api_keys.c.id == made.key.id)
    await database.rows(earlier.values(used_at=text("now() - interval '61 seconds'")))
    assert await used() not in (None, first)


async def test_create_key_cannot_exceed_own_scopes(database: Database, ours: OrganisationId) -> None:
    operator = await check_key(database, (await make_key(database, ours, "operate")).secret)
    assert operator is not None
    granted = await create_key(database, ours, validated(NewKey, name="less", scopes=("post",)), granted_by=operator)
    assert granted.key.scopes == ("post",)
    with pytest.raises(Forbidden, match="admin"):
        await create_key(database, ours, validated(NewKey, name="more", scopes=("post", "admin")), granted_by=operator)
    assert len(await keys_of(database, ours)) == 2


@pytest.mark.parametrize(
    ("name", "scopes", "words"),
    [("x", ["reed"], "'read', 'post', 'operate' or 'admin'"), ("x", [], "scopes"), (" ", ["read"], "name")],
)
def test_new_key_invalid_is_refused(name: str, scopes: list[str], words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        validated(NewKey, name=name, scopes=tuple(scopes))


async def test_check_key_uses_hash_index(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        rows = await connection.execute(
            text("EXPLAIN SELECT * FROM api_keys WHERE hash = '\\x00' AND revoked_at IS NULL")
        )
        assert "uq_api_keys_hash" in "\n".join(line for (line,) in rows)


async def test_create_organisation_refuses_duplicates(database: Database, ours: OrganisationId) -> None:
    with pytest.raises(InvalidDefinition, match=ours):
        await create_organisation(database, validated(NewOrganisation, id=ours, name=ours))
    assert (await find_organisation(database, ours)).name == ours
    assert {"local", ours} <= {one.id for one in await list_organisations(database)}
    with pytest.raises(NotFound, match="tertulia organisations create nowhere"):
        await find_organisation(database, "nowhere")
    with pytest.raises(InvalidDefinition, match="id"):
        validated(NewOrganisation, id="two words", name="two words")


async def test_local_key_is_reused_while_valid(url: str, database: Database, tmp_path: Path) -> None:
    path = await local_key(url, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.read_text()
    principal = await check_key(database, first.strip())
    assert principal is not None and principal.has_scope("admin") and principal.organisation_id == "local"
    assert (await local_key(url, tmp_path)).read_text() == first
    await revoke_key(database, principal.organisation_id, principal.key_id)
    second = (await local_key(url, tmp_path)).read_text()
    assert second != first and path.stat().st_mode & 0o777 == 0o600
    assert await check_key(database, second.strip()) is not None

"""`Tertulia.keys` on every backend."""

import pytest

from tertulia import InvalidDefinition, NotFound, Tertulia, TertuliaError, Unauthorized
from tests.client.conformance.conftest import Pair, Servers


async def test_create_and_use_key(pair: Pair, servers: Servers) -> None:
    created = await pair.client.keys.create("Schlüssel ☕", scopes=["read", "post"])
    assert created.key.organisation_id == pair.organisation
    assert created.key == await pair.same(lambda client: client.keys.retrieve(created.key.id))
    assert created.secret.startswith(created.key.hint) and set(created.key.scopes) == {"read", "post"}
    async with Tertulia.connect_http(servers.api_url, created.secret) as holder:
        assert await holder.agents.count() == 0
        with pytest.raises(TertuliaError) as refused:
            await holder.agents.create()
        assert refused.value.code == "Forbidden"


async def test_list_rename_and_revoke_keys(pair: Pair, servers: Servers) -> None:
    (admin,) = await pair.client.keys.list()
    created = await pair.client.keys.create("one")
    renamed = await pair.client.keys.update(created.key.id, name="two")
    assert renamed == await pair.same(lambda client: client.keys.retrieve(created.key.id))
    revoked = await pair.client.keys.delete(created.key.id)
    assert revoked.revoked_at is not None
    assert await pair.same(lambda client: client.keys.delete(created.key.id)) == revoked
    listed = await pair.same(lambda client: client.keys.list())
    assert [one.id for one in listed] == [admin.id, created.key.id]
    assert await pair.same(lambda client: client.keys.list(limit=1)) == listed[:1]
    assert await pair.same(lambda client: client.keys.count()) == 2
    async with Tertulia.connect_http(servers.api_url, created.secret) as holder:
        with pytest.raises(Unauthorized):
            await holder.agents.count()


async def test_invalid_key_is_refused_alike(pair: Pair) -> None:
    for name, scopes in (("", ["read"]), ("a", ["everything"]), ("a", [])):
        error = await pair.same_error(lambda client, name=name, scopes=scopes: client.keys.create(name, scopes=scopes))  # type: ignore[misc]
        assert isinstance(error, InvalidDefinition)


@pytest.mark.parametrize("key_id", ["key-none", "no blanks", "count", ""])
async def test_unknown_key_is_not_found(pair: Pair, key_id: str) -> None:
    for call in (
        lambda client: client.keys.retrieve(key_id),
        lambda client: client.keys.update(key_id, name="x"),
        lambda client: client.keys.delete(key_id),
    ):
        assert isinstance(await pair.same_error(call, same_text=False), NotFound)

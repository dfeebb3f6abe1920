"""Applying a manifest needs Temporal only to notify conversations of a changed group."""

import pytest

from tertulia.client.manifest import Manifest
from tertulia.configuration import Configuration
from tertulia.core.errors import Unavailable
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.devstack.stack import Stack
from tertulia.store.groups import find_group
from tertulia.testing import DirectClient, WorkflowHarness

_UNUSED = "127.0.0.1:1"


async def test_apply_unchanged_needs_no_temporal(harness: WorkflowHarness, stack: Stack) -> None:
    ana, ben = await harness.agents("Ana", "Ben")
    name = harness.name("Table")

    def manifest_of(*agents: str) -> Manifest:
        return Manifest.model_validate({"groups": [{"name": name, "agents": agents}]})

    database_url = stack.configuration.database_url
    without_temporal = Configuration.from_environment({"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": _UNUSED})
    async with DirectClient.open(without_temporal, is_lazy=True) as client:
        assert [result.outcome for result in await client.apply(manifest_of(ana, ben))] == ["created"]
        created = await find_group(client.scope.database, DEFAULT_ORGANISATION, name)
        assert [result.outcome for result in await client.apply(manifest_of(ana, ben))] == ["unchanged"]
        with pytest.raises(Unavailable, match=_UNUSED):
            await client.apply(manifest_of(ben, ana))
        assert await find_group(client.scope.database, DEFAULT_ORGANISATION, name) == created

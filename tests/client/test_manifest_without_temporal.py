"""Servers that applying a manifest needs: Temporal only if conversations are to be told of a change."""

import pytest

from tertulia.client.manifest import Manifest
from tertulia.configuration import Configuration
from tertulia.core.errors import Unavailable
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.devstack.stack import Stack
from tertulia.store.groups import find_group
from tertulia.testing import DirectClient
from tests.harness.workflow_harness import WorkflowHarness

_NOBODY = "127.0.0.1:1"


async def test_apply_unchanged_needs_no_temporal(harness: WorkflowHarness, stack: Stack) -> None:
    ana, ben = await harness.agents("Ana", "Ben")
    name = harness.name("Table")

    def file(*agents: str) -> Manifest:
        return Manifest.model_validate({"groups": [{"name": name, "agents": agents}]})

    database_url = stack.configuration.database_url
    alone = Configuration.from_environment({"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": _NOBODY})
    async with DirectClient.open(alone, is_lazy=True) as client:
        assert [line.outcome for line in await client.apply(file(ana, ben))] == ["created"]
        made = await find_group(client.scope.database, DEFAULT_ORGANISATION, name)
        assert [line.outcome for line in await client.apply(file(ana, ben))] == ["unchanged"]
        with pytest.raises(Unavailable, match=_NOBODY):
            await client.apply(file(ben, ana))
        assert await find_group(client.scope.database, DEFAULT_ORGANISATION, name) == made

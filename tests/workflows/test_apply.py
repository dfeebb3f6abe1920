"""What a file needs when it is applied: Temporal only where conversations are to be told of a change."""

import pytest

from tertulia.client.manifest import Manifest
from tertulia.configuration import Configuration
from tertulia.core.errors import Unavailable
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.devstack.stack import Stack
from tertulia.store.groups import find_group
from tertulia.testing import DirectClient
from tests.workflows.salon import Salon

_NOBODY = "127.0.0.1:1"


async def test_new_groups_and_those_that_stay_as_they_are_need_no_temporal(salon: Salon, stack: Stack) -> None:
    ana, ben = await salon.agents("Ana", "Ben")
    name = salon.name("Table")

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

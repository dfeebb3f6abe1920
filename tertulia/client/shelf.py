"""The database as the shelf from which a file of agents and groups is compared and to which it is written."""

from collections.abc import Awaitable, Callable

from tertulia.client.manifest import Applied, DefinitionFile, apply_to
from tertulia.core.agents import Agent
from tertulia.core.blocks import MemoryBlock
from tertulia.core.group import Group
from tertulia.core.ids import AgentId, BlockId, GroupId, OrganisationId
from tertulia.core.patches import GroupPatch
from tertulia.core.records import SaveOutcome
from tertulia.store.agents import find_agent, save_agent
from tertulia.store.database import Database
from tertulia.store.groups import find_group, save_group, write_shared_texts

ChangeGroup = Callable[[GroupId, GroupPatch], Awaitable[object]]


async def apply_definitions(
    database: Database, organisation_id: OrganisationId, file: DefinitionFile, change_group: ChangeGroup
) -> list[Applied]:
    """Create or update every entry of the file.

    Args:
        database: where.
        organisation_id: whose.
        file: the entries.
        change_group: how a group that is there is changed, so that its conversations are told.
    """
    return await apply_to(DatabaseShelf(database, organisation_id, change_group), file)


class DatabaseShelf:
    """An organisation's agents and groups."""

    def __init__(self, database: Database, organisation_id: OrganisationId, change_group: ChangeGroup) -> None:
        self._database = database
        self._organisation_id = organisation_id
        self._change_group = change_group

    async def find_agent(self, who: str) -> AgentId:
        return (await find_agent(self._database, self._organisation_id, who)).id

    async def save_agent(self, agent: Agent, *, keep_memory: bool) -> SaveOutcome:
        return await save_agent(self._database, self._organisation_id, agent, keep_memory=keep_memory)

    async def find_group(self, which: str) -> Group:
        return await find_group(self._database, self._organisation_id, which)

    async def create_group(self, group: Group, *, keep_memory: bool) -> SaveOutcome:
        return await save_group(self._database, self._organisation_id, group, keep_memory=keep_memory)

    async def write_shared(self, group: Group, memory: tuple[MemoryBlock, ...]) -> tuple[tuple[BlockId, ...], bool]:
        return await write_shared_texts(self._database, self._organisation_id, group.id, memory)

    async def change_group(self, group_id: GroupId, patch: GroupPatch) -> None:
        await self._change_group(group_id, patch)

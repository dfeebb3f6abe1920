"""Definitions of manifests in the database."""

from tertulia.core.agents import Agent
from tertulia.core.blocks import MemoryBlock
from tertulia.core.group import Group
from tertulia.core.ids import AgentId, BlockId, GroupId
from tertulia.core.patches import GroupPatch
from tertulia.core.records import SaveOutcome
from tertulia.service.group_changes import change_group
from tertulia.service.scope import OrganisationScope
from tertulia.store.agents import find_agent, save_agent
from tertulia.store.groups import find_group, save_group, write_shared_texts


class DatabaseDefinitions:
    """An organisation's agents and groups, as `DefinitionStore`."""

    def __init__(self, scope: OrganisationScope) -> None:
        self._scope = scope
        self._database = scope.database
        self._organisation_id = scope.organisation_id

    async def find_agent(self, id_or_name: str) -> AgentId:
        return (await find_agent(self._database, self._organisation_id, id_or_name)).id

    async def save_agent(self, agent: Agent, *, keep_memory: bool) -> SaveOutcome:
        return await save_agent(self._database, self._organisation_id, agent, keep_memory=keep_memory)

    async def find_group(self, id_or_name: str) -> Group:
        return await find_group(self._database, self._organisation_id, id_or_name)

    async def create_group(self, group: Group, *, keep_memory: bool) -> SaveOutcome:
        return await save_group(self._database, self._organisation_id, group, keep_memory=keep_memory)

    async def write_shared_blocks(
        self, group: Group, memory: tuple[MemoryBlock, ...]
    ) -> tuple[tuple[BlockId, ...], bool]:
        return await write_shared_texts(self._database, self._organisation_id, group.id, memory)

    async def change_group(self, group_id: GroupId, patch: GroupPatch) -> None:
        await change_group(self._scope, group_id, patch)

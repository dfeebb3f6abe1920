"""Groups, managed: what programs and people can do with those of their organisation.

Law: a change of a group reaches its running conversations, whatever dies meanwhile; so it is a workflow's work.
"""

import uuid
from typing import Literal

from pydantic import ValidationError

from tertulia.client.client import Tertulia
from tertulia.core.base import format_validation_error
from tertulia.core.errors import Conflict, InvalidDefinition, NotFound
from tertulia.core.group import (
    Group,
    GroupFilter,
    NewGroup,
    StoredGroup,
)
from tertulia.core.ids import BlockId, ConversationId, GroupId, OrganisationId
from tertulia.core.paging import Page
from tertulia.core.patches import GroupPatch
from tertulia.service.group_changes import change_group, delete_group
from tertulia.store.agents import read_agent
from tertulia.store.groups import count_groups, create_group, list_groups, read_group
from tertulia.store.spans import Span, read_span
from tertulia.store.transcript import Message

_TRIES = 20
"""How often a change of a group's blocks is made anew, when someone else was first."""

Conversations = Literal["close", "detach"]
"""What becomes of a deleted group's conversations: they close, or they go on without it."""


class Groups:
    """An organisation's groups. What belongs to another organisation is not there.

    Every method that names a group, an agent or a block raises `NotFound` where there is none.
    """

    def __init__(self, client: Tertulia, organisation_id: OrganisationId) -> None:
        self._client = client
        self._database = client.database
        self._organisation_id = organisation_id

    async def create(self, new: NewGroup) -> StoredGroup:
        """Make a group; it may be empty.

        Raises:
            InvalidDefinition: such a group cannot be.
            Conflict: the name or the id is taken, or two blocks bear one label.
        """
        unique = uuid.uuid4()
        given = {name: getattr(new, name) for name in type(new).model_fields}
        names = {"id": new.id or f"group-{unique}", "name": new.name or f"Group {unique.hex[:12]}"}
        try:
            group = Group.model_validate(given | names)
        except ValidationError as error:
            raise InvalidDefinition(format_validation_error(error)) from None
        return await create_group(self._database, self._organisation_id, group)

    async def retrieve(self, group_id: str) -> StoredGroup:
        """The group of that id."""
        return await read_group(self._database, self._organisation_id, group_id)

    async def listed(self, page: Page, only: GroupFilter | None = None) -> list[StoredGroup]:
        """A page of the groups."""
        if only and only.agent_id is not None:
            await read_agent(self._database, self._organisation_id, only.agent_id)
        return await list_groups(self._database, self._organisation_id, page, only)

    async def count(self) -> int:
        """How many there are."""
        return await count_groups(self._database, self._organisation_id)

    async def modify(self, group_id: str, patch: GroupPatch, *, expected_revision: int | None = None) -> StoredGroup:
        """Change a group, and its running conversations from their next turn on.

        Raises:
            InvalidDefinition: such a group cannot be.
            Conflict: someone else was first, the name is taken, or two blocks bear one label.
        """
        await change_group(self._client, self._organisation_id, GroupId(group_id), patch, expected_revision)
        return await self.retrieve(group_id)

    async def delete(self, group_id: str, *, conversations: Conversations = "close") -> None:
        """Delete a group; transcripts stay."""
        await delete_group(self._client, self._organisation_id, GroupId(group_id), conversations=conversations)

    async def attach(self, group_id: str, block_id: str) -> StoredGroup:
        """Let the group's members share a block, as the last; one that they share stays where it is.

        Raises:
            Conflict: they share another block of that label.
        """
        return await self._share(group_id, block_id, shared=True)

    async def detach(self, group_id: str, block_id: str) -> StoredGroup:
        """Let the group's members share a block no longer; the block itself stays."""
        return await self._share(group_id, block_id, shared=False)

    async def messages(self, conversation_id: ConversationId, span: Span) -> list[Message]:
        """A part of what was said in a group's default conversation."""
        return await read_span(self._database, conversation_id, span)

    async def _share(self, group_id: str, block_id: str, *, shared: bool) -> StoredGroup:
        for tries_left in reversed(range(_TRIES)):
            found = await self.retrieve(group_id)
            ids = found.group.shared_block_ids
            if shared and block_id in ids:
                return found
            if not shared and block_id not in ids:
                raise NotFound(f"the group {group_id!r} has no block {block_id!r}")
            others = tuple(one for one in ids if one != block_id)
            patch = GroupPatch(shared_block_ids=(*others, BlockId(block_id)) if shared else others)
            try:
                return await self.modify(group_id, patch, expected_revision=found.group.revision)
            except Conflict:
                if tries_left == 0 or (await self.retrieve(group_id)).group.revision == found.group.revision:
                    raise
        raise AssertionError("the last try returns or raises")

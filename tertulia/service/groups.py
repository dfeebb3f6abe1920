"""Groups of an organisation: create, read, update and delete.

Invariant: an update of a group reaches its running conversations, whatever process dies in between.
"""

import builtins
import uuid
from collections.abc import Sequence

from pydantic import ValidationError

from tertulia.core.base import format_validation_error
from tertulia.core.commands import PostMessage
from tertulia.core.errors import Conflict, InvalidDefinition, NotFound
from tertulia.core.group import ClosePolicy, Group, GroupFilter, NewGroup, StoredGroup
from tertulia.core.ids import BlockId, ConversationId, GroupId
from tertulia.core.paging import Page
from tertulia.core.patches import GroupPatch
from tertulia.service.group_changes import change_group, delete_group
from tertulia.service.group_messages import post_to_group, reset_group
from tertulia.service.scope import OrganisationScope
from tertulia.store.agents import read_agent
from tertulia.store.groups import count_groups, create_group, list_groups, read_group

_BLOCK_CHANGE_ATTEMPTS = 20
"""Attempts of a change of a group's blocks, with concurrent changes in between."""


class GroupService:
    """Use cases on groups.

    Methods that name a group, an agent or a block raise `NotFound` where the organisation has none.
    """

    def __init__(self, scope: OrganisationScope) -> None:
        self._scope = scope
        self._database = scope.database
        self._organisation_id = scope.organisation_id

    async def create(self, new: NewGroup) -> StoredGroup:
        """Create a group, which may be empty.

        Raises:
            InvalidDefinition: the group would be invalid.
            Conflict: the name or the id is taken, or two blocks have one label.
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
        """Return the group with this id."""
        return await read_group(self._database, self._organisation_id, group_id)

    async def list(self, page: Page, filter: GroupFilter | None = None) -> builtins.list[StoredGroup]:
        """Return one page of the groups that match `filter`."""
        if filter and filter.agent_id is not None:
            await read_agent(self._database, self._organisation_id, filter.agent_id)
        return await list_groups(self._database, self._organisation_id, page, filter)

    async def count(self) -> int:
        """Return the number of groups."""
        return await count_groups(self._database, self._organisation_id)

    async def update(self, group_id: str, patch: GroupPatch, *, expected_revision: int | None = None) -> StoredGroup:
        """Update a group, and its running conversations from their next turn boundary on.

        Raises:
            InvalidDefinition: the updated group would be invalid.
            Conflict: the revision is not the expected one, the name is taken, or two blocks have one label.
        """
        await change_group(self._scope, GroupId(group_id), patch, expected_revision)
        return await self.retrieve(group_id)

    async def delete(self, group_id: str, *, conversations: ClosePolicy = "close") -> None:
        """Delete a group; transcripts stay.

        Args:
            group_id: the group.
            conversations: whether its running conversations close or continue without the group.
        """
        await delete_group(self._scope, GroupId(group_id), conversations)

    async def attach_block(self, group_id: str, block_id: str) -> StoredGroup:
        """Share a block among the members as the last one; a shared block keeps its place.

        Raises:
            Conflict: the members share another block with this label.
        """
        return await self._change_blocks(group_id, block_id, is_attached=True)

    async def detach_block(self, group_id: str, block_id: str) -> StoredGroup:
        """Stop sharing a block; the block itself stays."""
        return await self._change_blocks(group_id, block_id, is_attached=False)

    async def post(self, group_id: str, messages: Sequence[PostMessage]) -> ConversationId:
        """Post messages to the group's default conversation and return that conversation's id. See `post_to_group`."""
        return (await post_to_group(self._scope, GroupId(group_id), messages)).conversation_id

    async def reset(self, group_id: str) -> None:
        """Close the group's default conversation; the next message to the group starts a new one."""
        await reset_group(self._scope, GroupId(group_id))

    async def _change_blocks(self, group_id: str, block_id: str, *, is_attached: bool) -> StoredGroup:
        for attempts_left in reversed(range(_BLOCK_CHANGE_ATTEMPTS)):
            found = await self.retrieve(group_id)
            ids = found.group.shared_block_ids
            if is_attached and block_id in ids:
                return found
            if not is_attached and block_id not in ids:
                raise NotFound(f"the group {group_id!r} has no block {block_id!r}")
            others = tuple(one for one in ids if one != block_id)
            patch = GroupPatch(shared_block_ids=(*others, BlockId(block_id)) if is_attached else others)
            try:
                return await self.update(group_id, patch, expected_revision=found.group.revision)
            except Conflict:
                if attempts_left == 0 or (await self.retrieve(group_id)).group.revision == found.group.revision:
                    raise
        raise AssertionError("the last attempt returns or raises")

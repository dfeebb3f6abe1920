"""`Tertulia.groups`."""

import builtins
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import JsonValue

from tertulia.client.backend import Backend
from tertulia.client.conversation import Conversation
from tertulia.client.paging import read_list
from tertulia.core.base import validated
from tertulia.core.commands import DEFAULT_SENDER, PostMessage, checked
from tertulia.core.errors import NotFound
from tertulia.core.group import (
    ClosePolicy,
    GroupFilter,
    GroupSettings,
    ManagerConfig,
    NewGroup,
    RoundRobinConfig,
    Standby,
    StoredGroup,
)
from tertulia.core.paging import Order
from tertulia.core.patches import GroupPatch


class Groups:
    """The groups of the organisation."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend.groups
        self._conversations = backend.conversations

    async def create(
        self,
        *,
        name: str | None = None,
        agent_ids: Sequence[str] = (),
        description: str = "",
        manager_config: ManagerConfig | Mapping[str, Any] | None = None,
        standby: Sequence[Standby | Mapping[str, Any]] = (),
        settings: GroupSettings | Mapping[str, Any] | None = None,
        shared_block_ids: Sequence[str] = (),
        metadata: Mapping[str, JsonValue] | None = None,
        id: str | None = None,
    ) -> StoredGroup:
        """Create a group.

        Args:
            name: display name, unique in the organisation; one is generated if it is None.
            agent_ids: the members in speaking order; a group without members cannot start a conversation.
            description: the beginning of every member's prompt; at most 10,000 characters.
            manager_config: `RoundRobinConfig` or `DynamicConfig`, or its fields; None = round robin.
            standby: agents that speak only in place of a member that fails.
            settings: `GroupSettings`, or some of its fields.
            shared_block_ids: blocks in the prompt of every member.
            metadata: JSON that Tertulia stores and does not read.
            id: 1 to 128 letters, digits, `.`, `_`, `-`; one is generated if it is None.

        Raises:
            InvalidDefinition: a value is invalid; the message names the field.
            NotFound: no such agent or block.
            Conflict: the name or the id is taken, or two blocks have one label.
        """
        new = validated(
            NewGroup,
            id=id,
            name=name,
            description=description,
            agent_ids=tuple(agent_ids),
            standby=tuple(standby),
            manager_config=RoundRobinConfig() if manager_config is None else manager_config,
            shared_block_ids=tuple(shared_block_ids),
            settings=GroupSettings() if settings is None else settings,
            metadata=dict(metadata or {}),
        )
        return await self._backend.create(new)

    async def retrieve(self, group_id: str) -> StoredGroup:
        """Return the group with this id.

        Raises:
            NotFound: no such group.
        """
        return await self._backend.retrieve(group_id)

    async def find(self, id_or_name: str) -> StoredGroup:
        """Return the group with this id or, failing that, with this name.

        Raises:
            NotFound: no such group.
        """
        try:
            return await self._backend.retrieve(id_or_name)
        except NotFound:
            named = await self.list(name=id_or_name, limit=1)
            if not named:
                raise
            return named[0]

    async def list(
        self,
        *,
        name: str | None = None,
        manager_type: str | None = None,
        limit: int | None = None,
        order: Order = "asc",
    ) -> builtins.list[StoredGroup]:
        """Return the groups that match every given filter, all of them unless there is a `limit`.

        Args:
            name: the exact name, in any case.
            manager_type: `round_robin` or `dynamic`.
            limit: how many at most.
            order: `asc` = the oldest first.

        Raises:
            InvalidDefinition: a filter is invalid; the message names it.
        """
        filter = validated(GroupFilter, name=name, manager_type=manager_type)
        read = partial(self._backend.list, filter=filter)
        return await read_list(read, lambda stored: stored.group.id, limit=limit, order=order)

    async def count(self) -> int:
        """Return the number of groups."""
        return await self._backend.count()

    async def update(self, group_id: str, *, expected_revision: int | None = None, **fields: Any) -> StoredGroup:
        """Update a group, and its running conversations from their next turn boundary on.

        Args:
            group_id: the group.
            expected_revision: refuse the update if the group has another revision.
            fields: of `GroupPatch`: name, description, agent_ids, standby, manager_config, shared_block_ids, settings,
                metadata. Lists are replaced as a whole; `manager_config` and `settings` are merged field by field.

        Raises:
            NotFound: no such group, agent or block.
            InvalidDefinition: the updated group would be invalid; the message names the field.
            Conflict: the revision is not the expected one, the name is taken, or two blocks have one label.
            Unavailable: no answer; the update may still be made.
        """
        patch = validated(GroupPatch, **fields)
        return await self._backend.update(group_id, patch, expected_revision=expected_revision)

    async def delete(self, group_id: str, *, conversations: ClosePolicy = "close") -> None:
        """Delete a group; transcripts stay.

        Args:
            group_id: the group.
            conversations: `close` closes its running conversations at their next turn boundary, `detach` lets them
                continue.

        Raises:
            NotFound: no such group.
        """
        await self._backend.delete(group_id, conversations=conversations)

    async def attach_block(self, group_id: str, block_id: str) -> StoredGroup:
        """Share a block among the members as the last one; a shared block keeps its place.

        Raises:
            NotFound: no such group or block.
            Conflict: the members share another block with this label.
        """
        return await self._backend.attach_block(group_id, block_id)

    async def detach_block(self, group_id: str, block_id: str) -> StoredGroup:
        """Stop sharing a block; the block itself stays.

        Raises:
            NotFound: no such group, or the block is not shared.
        """
        return await self._backend.detach_block(group_id, block_id)

    async def post(
        self, group_id: str, text: str, *, sender: str = DEFAULT_SENDER, message_id: str | None = None
    ) -> Conversation:
        """Post a message to a group: to its default conversation, which the first message starts.

        Args:
            group_id: the group.
            text: the message.
            sender: who writes it.
            message_id: the same id posted again counts once.

        Returns:
            The conversation; its `wait_for_round` waits for the answers.

        Raises:
            NotFound: no such group.
            CommandRefused: the group is empty, or the message cannot be posted.
            Unavailable: no answer; posting again with the same id is safe.
        """
        post = checked(PostMessage, text=text, sender=sender, command_id=message_id or str(uuid.uuid4()))
        return Conversation(self._conversations, await self._backend.post(group_id, [post]))

    async def reset(self, group_id: str) -> None:
        """Close the group's default conversation; the next message to the group starts a new one.

        Raises:
            NotFound: no such group.
        """
        await self._backend.reset(group_id)

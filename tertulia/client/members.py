"""`Conversation.members`: the roster of one conversation."""

import builtins
from collections.abc import Awaitable, Callable, Sequence

from tertulia.client.backend import ConversationBackend
from tertulia.core.commands import (
    AddMember,
    AnyCommand,
    MuteMember,
    Receipt,
    ReinstateMember,
    RemoveMember,
    ReorderMembers,
    ReplaceMember,
    UnmuteMember,
    checked,
)
from tertulia.core.paging import MAX_PAGE
from tertulia.core.records import MemberRow, MembershipChange


class Members:
    """The members of a conversation. Changes take effect at the next turn boundary, in the order in which they arrive.

    Agents and members are named by id or by name. Commands raise the errors of `Conversation`.
    """

    def __init__(
        self, backend: ConversationBackend, conversation_id: str, send: Callable[[AnyCommand], Awaitable[Receipt]]
    ) -> None:
        self._backend = backend
        self._conversation_id = conversation_id
        self._send = send

    async def add(
        self,
        agent: str,
        *,
        position: int | None = None,
        state: str = "active",
        catch_up: str | None = None,
        stands_in_for: str | None = None,
        command_id: str | None = None,
    ) -> Receipt:
        """Add an agent.

        Args:
            agent: the agent.
            position: place in the order, 0 = first; None = last.
            state: `active`, `muted` or `standby`.
            catch_up: what it reads of the transcript so far: `full`, `none` or `last:N`; None = the group's setting.
            stands_in_for: with `standby`, the only member it may replace; None = any.
            command_id: the same id sent again counts once.
        """
        command = checked(
            AddMember,
            agent=agent,
            position=position,
            state=state,
            catch_up=catch_up,
            stands_in_for=stands_in_for,
            command_id=command_id,
        )
        return await self._send(command)

    async def remove(self, agent: str, *, in_flight: str | None = None, command_id: str | None = None) -> Receipt:
        """Remove a member.

        Args:
            agent: the member.
            in_flight: what happens to the turn it may be taking: `finish` keeps the message, `discard` drops it,
                `cancel` cancels the model call; None = the group's setting.
            command_id: the same id sent again counts once.
        """
        return await self._send(checked(RemoveMember, agent=agent, in_flight=in_flight, command_id=command_id))

    async def replace(
        self,
        agent: str,
        replacement: str,
        *,
        catch_up: str | None = None,
        in_flight: str | None = None,
        command_id: str | None = None,
    ) -> Receipt:
        """Put another agent in a member's place in the order.

        Args:
            agent: the member that leaves.
            replacement: the agent that takes its place.
            catch_up: see `add`.
            in_flight: see `remove`.
            command_id: the same id sent again counts once.
        """
        command = checked(
            ReplaceMember,
            agent=agent,
            replacement=replacement,
            catch_up=catch_up,
            in_flight=in_flight,
            command_id=command_id,
        )
        return await self._send(command)

    async def reorder(self, agents: Sequence[str], *, command_id: str | None = None) -> Receipt:
        """Set a new speaking order.

        Args:
            agents: every member once, standby and muted ones included.
            command_id: the same id sent again counts once.
        """
        return await self._send(checked(ReorderMembers, agents=tuple(agents), command_id=command_id))

    async def mute(self, agent: str, *, command_id: str | None = None) -> Receipt:
        """Mute a member: it keeps reading and takes no turns.

        Args:
            agent: the member.
            command_id: the same id sent again counts once.
        """
        return await self._send(checked(MuteMember, agent=agent, command_id=command_id))

    async def unmute(self, agent: str, *, command_id: str | None = None) -> Receipt:
        """Make a muted or standby member active.

        Args:
            agent: the member.
            command_id: the same id sent again counts once.
        """
        return await self._send(checked(UnmuteMember, agent=agent, command_id=command_id))

    async def reinstate(self, agent: str, *, command_id: str | None = None) -> Receipt:
        """Treat an isolated or suspect member or manager as healthy.

        Args:
            agent: the member or manager.
            command_id: the same id sent again counts once.
        """
        return await self._send(checked(ReinstateMember, agent=agent, command_id=command_id))

    async def list(self) -> builtins.list[MemberRow]:
        """Return every present and former member, with the last message each has read.

        Raises:
            NotFound: no such conversation.
        """
        return await self._backend.members(self._conversation_id)

    async def changes(self, *, after_epoch: int = 0, limit: int | None = None) -> builtins.list[MembershipChange]:
        """Return the changes of the roster after epoch `after_epoch`, the oldest first.

        Args:
            after_epoch: the epoch of the last change already seen.
            limit: how many at most; None = all.

        Raises:
            NotFound: no such conversation.
        """
        changes: builtins.list[MembershipChange] = []
        while limit is None or len(changes) < limit:
            size = MAX_PAGE if limit is None else min(limit - len(changes), MAX_PAGE)
            page = await self._backend.membership_changes(self._conversation_id, after=after_epoch, limit=size)
            changes += page
            if len(page) < size:
                break
            after_epoch = page[-1].epoch
        return changes

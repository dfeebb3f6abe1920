"""Every command as a method, on top of whatever sends them: Temporal itself, or the API."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tertulia.core.commands import (
    DEFAULT_SENDER,
    AddMember,
    AnyCommand,
    MuteMember,
    Pause,
    PostMessage,
    Receipt,
    ReinstateMember,
    RemoveMember,
    ReorderMembers,
    ReplaceMember,
    Resume,
    Stop,
    UnmuteMember,
    UpdateSettings,
    checked,
)


class Commanding(Protocol):
    """What sends commands to a conversation.

    Each comes back with its receipt at once, before it takes effect. One without an id gets one; sent again with the
    same id, it counts once.

    Every method raises `CommandRefused` with the conversation's reason, `ConversationClosed` when it has ended,
    `NotFound` where there is no such conversation or agent, and `Unavailable` without an answer.
    """

    @abstractmethod
    async def send(self, conversation_id: str, command: AnyCommand) -> Receipt:
        """Send any command and wait for its receipt."""

    async def post(
        self, conversation_id: str, text: str, *, sender: str = DEFAULT_SENDER, message_id: str | None = None
    ) -> Receipt:
        """Say something in a conversation."""
        return await self.send(conversation_id, checked(PostMessage, text=text, sender=sender, command_id=message_id))

    async def add_member(
        self,
        conversation_id: str,
        agent: str,
        *,
        position: int | None = None,
        state: str = "active",
        catch_up: str | None = None,
        stands_in_for: str | None = None,
        command_id: str | None = None,
    ) -> Receipt:
        """Let an agent (id or name) join."""
        values = {
            "agent": agent,
            "position": position,
            "state": state,
            "catch_up": catch_up,
            "stands_in_for": stands_in_for,
        }
        return await self.send(conversation_id, checked(AddMember, **values, command_id=command_id))

    async def remove_member(
        self, conversation_id: str, agent: str, *, in_flight: str | None = None, command_id: str | None = None
    ) -> Receipt:
        """Let a member leave; `in_flight` says what becomes of the turn it may be taking."""
        values = {"agent": agent, "in_flight": in_flight}
        return await self.send(conversation_id, checked(RemoveMember, **values, command_id=command_id))

    async def replace_member(
        self,
        conversation_id: str,
        agent: str,
        replacement: str,
        *,
        catch_up: str | None = None,
        in_flight: str | None = None,
        command_id: str | None = None,
    ) -> Receipt:
        """Let another agent take a member's place."""
        values = {"agent": agent, "replacement": replacement, "catch_up": catch_up, "in_flight": in_flight}
        return await self.send(conversation_id, checked(ReplaceMember, **values, command_id=command_id))

    async def reorder_members(
        self, conversation_id: str, agents: Sequence[str], *, command_id: str | None = None
    ) -> Receipt:
        """Give the roster a new order: every member once."""
        return await self.send(conversation_id, checked(ReorderMembers, agents=tuple(agents), command_id=command_id))

    async def mute_member(self, conversation_id: str, agent: str, *, command_id: str | None = None) -> Receipt:
        """Let a member stay and read, but not speak."""
        return await self.send(conversation_id, checked(MuteMember, agent=agent, command_id=command_id))

    async def unmute_member(self, conversation_id: str, agent: str, *, command_id: str | None = None) -> Receipt:
        """Let a muted member speak again, or one on standby speak for itself."""
        return await self.send(conversation_id, checked(UnmuteMember, agent=agent, command_id=command_id))

    async def reinstate_member(self, conversation_id: str, agent: str, *, command_id: str | None = None) -> Receipt:
        """Take an isolated or suspect member, or manager, for healthy at once."""
        return await self.send(conversation_id, checked(ReinstateMember, agent=agent, command_id=command_id))

    async def update_settings(
        self, conversation_id: str, settings: Mapping[str, Any], *, command_id: str | None = None
    ) -> Receipt:
        """Change settings of this conversation alone."""
        return await self.send(conversation_id, checked(UpdateSettings, **settings, command_id=command_id))

    async def pause(self, conversation_id: str, reason: str = "", *, command_id: str | None = None) -> Receipt:
        """Let the conversation rest from the next turn boundary on."""
        return await self.send(conversation_id, checked(Pause, reason=reason, command_id=command_id))

    async def resume(self, conversation_id: str, *, command_id: str | None = None) -> Receipt:
        """Let a paused conversation go on; while nobody can speak, try a member at once."""
        return await self.send(conversation_id, checked(Resume, command_id=command_id))

    async def stop(self, conversation_id: str, reason: str = "", *, command_id: str | None = None) -> Receipt:
        """Close the conversation at the next turn boundary."""
        return await self.send(conversation_id, checked(Stop, reason=reason, command_id=command_id))

"""Commands to running conversations, their receipts and rejections.

Invariant: every command has an id; a command with a known id changes nothing and gets the first receipt again.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AliasChoices, Field, NonNegativeInt, StringConstraints, ValidationError, model_validator

from tertulia.core.base import Definition, Record, format_validation_error
from tertulia.core.errors import CommandRefused
from tertulia.core.group import CatchUp, InFlight
from tertulia.core.ids import CommandId
from tertulia.core.names import DisplayName

CommandIdText = Annotated[str, StringConstraints(min_length=1, max_length=200)]
AgentIdOrName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""An agent by id or by unique name."""

DEFAULT_SENDER = "User"


class Command(Definition):
    """Base of all commands."""

    command_id: CommandIdText | None = None
    """Idempotency key: a repeated id changes nothing and gets the first receipt. Null = the id of the update."""


class PostMessage(Command):
    """Post a message to the conversation."""

    text: str = Field(min_length=1)
    sender: DisplayName = DEFAULT_SENDER
    """Name shown with the message; not the name of a member."""


class AddMember(Command):
    """Add an agent at the next turn boundary."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))
    position: NonNegativeInt | None = None
    """Index in the roster order, 0 = first; null = last."""
    state: Literal["active", "muted", "standby"] = "active"
    catch_up: CatchUp | None = None
    """Earlier messages that it can read; null = the group's setting."""
    stands_in_for: AgentIdOrName | None = None
    """With state `standby`: the only member it stands in for; null = any member."""

    @model_validator(mode="after")
    def _check_stands_in_for(self) -> Self:
        if self.stands_in_for is not None and self.state != "standby":
            raise ValueError("stands_in_for: allowed only with state 'standby'")
        return self


class RemoveMember(Command):
    """Remove a member at the next turn boundary."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))
    in_flight: InFlight | None = None
    """If it is the current speaker: `finish` keeps its message, `discard` drops it, `cancel` cancels the model call;
    null = the group's setting."""


class ReplaceMember(Command):
    """Replace a member by another agent at the same position."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))
    replacement: AgentIdOrName = Field(validation_alias=AliasChoices("replacement", "replacement_id"))
    catch_up: CatchUp | None = None
    in_flight: InFlight | None = None
    """As for `remove_member`."""


class ReorderMembers(Command):
    """Change the order of the roster."""

    agents: tuple[AgentIdOrName, ...] = Field(min_length=1, validation_alias=AliasChoices("agents", "agent_ids"))
    """Id or name of every member, each once, in the new order."""


class MuteMember(Command):
    """Mute a member: it stays and reads but takes no turns."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))


class UnmuteMember(Command):
    """Make a muted or standby member active."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))


class ReinstateMember(Command):
    """Reset the health of an isolated or suspect member, or of a manager."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))


class UpdateSettings(Command, extra="allow"):
    """Change settings of this conversation: any field of the group settings or of the manager configuration, flat."""


class Pause(Command):
    """Pause at the next turn boundary."""

    reason: str = Field(default="", max_length=500)


class Resume(Command):
    """Continue after a pause; while no member can speak, try an isolated member at once."""


class Stop(Command):
    """Close the conversation at the next turn boundary."""

    reason: str = Field(default="", max_length=500)


RosterCommand = AddMember | RemoveMember | ReplaceMember | ReorderMembers | MuteMember | UnmuteMember | ReinstateMember
AnyCommand = PostMessage | RosterCommand | UpdateSettings | Pause | Resume | Stop

COMMANDS: dict[str, type[AnyCommand]] = {
    "post_message": PostMessage,
    "add_member": AddMember,
    "remove_member": RemoveMember,
    "replace_member": ReplaceMember,
    "reorder_members": ReorderMembers,
    "mute_member": MuteMember,
    "unmute_member": UnmuteMember,
    "reinstate_member": ReinstateMember,
    "update_settings": UpdateSettings,
    "pause": Pause,
    "resume": Resume,
    "stop": Stop,
}
"""Commands by the name of their update and signal."""
COMMAND_NAMES: dict[type[AnyCommand], str] = {command: name for name, command in COMMANDS.items()}
"""Names by command class."""


class Receipt(Record):
    """Receipt of an accepted command; a repeated id gets the same receipt."""

    command_id: CommandId
    command: str
    detail: str
    """Effect of the command, for readers; a warning comes first."""
    epoch: int | None = None
    """Epoch of the roster after a roster command; null for other commands."""


class Rejection(Record):
    """A refused signal. `status` shows it, because a signal has no caller to answer."""

    command: str
    command_id: str | None
    reason: str


CommandT = TypeVar("CommandT", bound=Command)

PATHS = {
    "post_message": "messages",
    "add_member": "members/add",
    "remove_member": "members/remove",
    "replace_member": "members/replace",
    "reorder_members": "members/reorder",
    "mute_member": "members/mute",
    "unmute_member": "members/unmute",
    "reinstate_member": "members/reinstate",
    "update_settings": "settings",
    "pause": "pause",
    "resume": "resume",
    "stop": "stop",
}
"""Path of each command in the REST API, below the conversation's path."""


def checked(kind: type[CommandT], **values: Any) -> CommandT:
    """Build a command from user input.

    Raises:
        CommandRefused: a value is invalid; the message names the field.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        raise CommandRefused(format_validation_error(error)) from None


def with_command_id(command: AnyCommand, new_id: str) -> AnyCommand:
    """Return the command with an id: its own, or `new_id` if it has none. An id stays the same when it is resent."""
    return command if command.command_id else command.model_copy(update={"command_id": new_id})

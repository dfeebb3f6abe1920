"""What operators can tell a running conversation. Each command bears an id: said twice, it counts once."""

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
    """The root of all commands."""

    command_id: CommandIdText | None = None
    """The same id again changes nothing and gets the first answer. Without one, the update's own id serves."""


class PostMessage(Command):
    """Say something in the conversation from outside."""

    text: str = Field(min_length=1)
    sender: DisplayName = DEFAULT_SENDER
    """The name that stands before the words; not a member's."""


class AddMember(Command):
    """Let an agent join at the next turn boundary."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))
    position: NonNegativeInt | None = None
    """Index in the order, 0 = first; without it, last."""
    state: Literal["active", "muted", "standby"] = "active"
    catch_up: CatchUp | None = None
    """What it reads of what came before; without it, the group's setting."""
    stands_in_for: AgentIdOrName | None = None
    """With state `standby`: the only member that it stands in for; without it, any."""

    @model_validator(mode="after")
    def _check_stands_in_for(self) -> Self:
        if self.stands_in_for is not None and self.state != "standby":
            raise ValueError("stands_in_for: only a member with state 'standby' stands in for others")
        return self


class RemoveMember(Command):
    """Let a member leave at the next turn boundary."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))
    in_flight: InFlight | None = None
    """If it speaks just now: `finish` = its words stand, `discard` = they are dropped, `cancel` = the model call is
    cancelled; without it, the group's setting."""


class ReplaceMember(Command):
    """Let another agent take a member's place in the order."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))
    replacement: AgentIdOrName = Field(validation_alias=AliasChoices("replacement", "replacement_id"))
    catch_up: CatchUp | None = None
    in_flight: InFlight | None = None
    """As for `remove_member`."""


class ReorderMembers(Command):
    """Give the roster a new order."""

    agents: tuple[AgentIdOrName, ...] = Field(min_length=1, validation_alias=AliasChoices("agents", "agent_ids"))
    """Every member once, by id or name."""


class MuteMember(Command):
    """Let a member stay and read, but not speak."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))


class UnmuteMember(Command):
    """Let a muted member speak again, or one on standby speak for itself."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))


class ReinstateMember(Command):
    """Take an isolated or suspect member for healthy at once."""

    agent: AgentIdOrName = Field(validation_alias=AliasChoices("agent", "agent_id"))


class UpdateSettings(Command, extra="allow"):
    """Change settings of this conversation: any field of the group's settings or of its manager's rules, flat."""


class Pause(Command):
    """Rest at the next turn boundary."""

    reason: str = Field(default="", max_length=500)


class Resume(Command):
    """Go on after a pause; or, where nobody can speak, try a member at once."""


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
"""Every command under the name of its update and its signal."""
COMMAND_NAMES: dict[type[AnyCommand], str] = {command: name for name, command in COMMANDS.items()}
"""The name of each command."""


class Receipt(Record):
    """The answer to an accepted command; a repeated id gets the same one again."""

    command_id: CommandId
    command: str
    detail: str
    """What will happen, for a reader."""
    epoch: int | None = None
    """The epoch that the roster will have after a change of members."""


class Rejection(Record):
    """A signal that was refused: it has no caller to answer, so `status` shows it."""

    command: str
    command_id: str | None
    reason: str


C = TypeVar("C", bound=Command)


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
"""Where the API takes each command, by its name: below the conversation's address."""


def checked(kind: type[C], **values: Any) -> C:
    """The command of these values.

    Raises:
        CommandRefused: it cannot be like that.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        raise CommandRefused(format_validation_error(error)) from None


def with_command_id(command: AnyCommand, new_id: str) -> AnyCommand:
    """Return the command with an id: its own, or `new_id` if it has none. An id stays the same when it is resent."""
    return command if command.command_id else command.model_copy(update={"command_id": new_id})

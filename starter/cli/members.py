"""`members`: list the members of a conversation, and change them while it runs."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tertulia.core.commands import Receipt
from tertulia.starter.cli.options import (
    AgentsArgument,
    CatchUpOption,
    CommandIdOption,
    ConversationArgument,
    DataOption,
    JsonOption,
    TimesOption,
    require_subcommand,
)
from tertulia.starter.cli.session import with_conversation
from tertulia.starter.cli.tables import print_receipts
from tertulia.starter.cli.terminal import print_json

if TYPE_CHECKING:
    from tertulia.client.conversation import Conversation
    from tertulia.client.members import Members
    from tertulia.core.records import MemberRow, MembershipChange

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """List the members of a conversation, and change them while it runs."""
    require_subcommand(context)


class InitialMemberState(StrEnum):
    """The state of a new member."""

    ACTIVE = "active"
    MUTED = "muted"
    STANDBY = "standby"


class InFlightPolicy(StrEnum):
    """Treatment of the running turn of a member that is removed."""

    FINISH = "finish"
    DISCARD = "discard"
    CANCEL = "cancel"


InFlightOption = Annotated[
    InFlightPolicy | None,
    typer.Option(
        "--in-flight",
        help="If it is speaking: keep the message, discard it, or cancel the model call. Default: the group's setting.",
    ),
]


@app.command("list")
def list_members(
    conversation: ConversationArgument, times: TimesOption = False, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """List present and former members with their usage, and every change so far."""
    from tertulia.starter.cli.tables import print_changes, print_members

    async def read(found: "Conversation") -> "tuple[str, list[MemberRow], list[MembershipChange]]":
        return found.id, await found.members.list(), await found.members.changes()

    conversation_id, members, changes = with_conversation(data, conversation, read)
    if as_json:
        print_json(
            {
                "conversation_id": conversation_id,
                "members": [member.model_dump(mode="json") for member in members],
                "changes": [change.model_dump(mode="json") for change in changes],
            }
        )
        return
    print_members(members)
    print_changes(changes, {member.agent_id: member.name for member in members}, times=times)


@app.command()
def add(
    conversation: ConversationArgument,
    agents: AgentsArgument,
    position: Annotated[
        int | None, typer.Option("--position", min=0, metavar="N", help="Place in the order, 0 = first. Default: last.")
    ] = None,
    catch_up: CatchUpOption = None,
    state: Annotated[
        InitialMemberState, typer.Option("--state", help="State of the new member.")
    ] = InitialMemberState.ACTIVE,
    stands_in_for: Annotated[
        str | None, typer.Option("--for", metavar="MEMBER", help="With standby: replace only this member.")
    ] = None,
    id: CommandIdOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add agents to a conversation.

    Example: tertulia members add CONVERSATION Iris --catch-up last:5
    """

    def send(members: "Members", agent: str, index: int) -> Awaitable[Receipt]:
        return members.add(
            agent,
            position=None if position is None else position + index,
            state=state.value,
            catch_up=catch_up,
            stands_in_for=stands_in_for,
            command_id=id,
        )

    _send_each(conversation, agents, id, data, as_json, send)


@app.command()
def remove(
    conversation: ConversationArgument,
    agents: AgentsArgument,
    in_flight: InFlightOption = None,
    id: CommandIdOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove members. A member that is added again continues where it stopped reading."""

    def send(members: "Members", agent: str, _: int) -> Awaitable[Receipt]:
        return members.remove(agent, in_flight=_policy_value(in_flight), command_id=id)

    _send_each(conversation, agents, id, data, as_json, send)


@app.command()
def replace(
    conversation: ConversationArgument,
    agent: Annotated[str, typer.Argument(metavar="MEMBER", help="The member to replace.")],
    replacement: Annotated[str, typer.Argument(metavar="AGENT", help="The agent that takes the place.")],
    catch_up: CatchUpOption = None,
    in_flight: InFlightOption = None,
    id: CommandIdOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put another agent in a member's place in the order."""
    receipt = with_conversation(
        data,
        conversation,
        lambda found: found.members.replace(
            agent, replacement, catch_up=catch_up, in_flight=_policy_value(in_flight), command_id=id
        ),
    )
    print_receipts([receipt], as_json=as_json)


@app.command()
def reorder(
    conversation: ConversationArgument,
    agents: AgentsArgument,
    id: CommandIdOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set a new speaking order: name every member once."""
    receipt = with_conversation(data, conversation, lambda found: found.members.reorder(agents, command_id=id))
    print_receipts([receipt], as_json=as_json)


@app.command()
def mute(
    conversation: ConversationArgument,
    agents: AgentsArgument,
    id: CommandIdOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mute members: they keep reading and do not speak."""
    _send_each(conversation, agents, id, data, as_json, lambda members, agent, _: members.mute(agent, command_id=id))


@app.command()
def unmute(
    conversation: ConversationArgument,
    agents: AgentsArgument,
    id: CommandIdOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make muted members, or members on standby, active speakers."""
    _send_each(conversation, agents, id, data, as_json, lambda members, agent, _: members.unmute(agent, command_id=id))


@app.command()
def reinstate(
    conversation: ConversationArgument,
    agents: AgentsArgument,
    id: CommandIdOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Treat isolated members or managers as healthy from now on."""
    _send_each(
        conversation, agents, id, data, as_json, lambda members, agent, _: members.reinstate(agent, command_id=id)
    )


def _policy_value(in_flight: InFlightPolicy | None) -> str | None:
    return None if in_flight is None else in_flight.value


def _send_each(
    conversation: str,
    agents: list[str],
    command_id: str | None,
    data: DataOption,
    as_json: bool,
    send: Callable[["Members", str, int], Awaitable[Receipt]],
) -> None:
    """Send one command per agent, in order; after a refusal, the receipts of the commands before it are printed."""
    if command_id is not None and len(agents) > 1:
        raise typer.BadParameter("one id is for one command: name one agent", param_hint="--id")
    receipts: list[Receipt] = []

    async def send_all(found: "Conversation") -> None:
        for index, agent in enumerate(agents):
            receipts.append(await send(found.members, agent, index))

    try:
        with_conversation(data, conversation, send_all)
    finally:
        if receipts:
            print_receipts(receipts, as_json=as_json)

"""`members`: who is in a conversation, and changing that while it runs."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tertulia.core.commands import Receipt
from tertulia.starter.cli.options import (
    Agents,
    CatchUpOption,
    CommandIdOption,
    Conversation,
    Data,
    Json,
    help_without_command,
)
from tertulia.starter.cli.receipts import show_receipts
from tertulia.starter.cli.session import with_client
from tertulia.starter.cli.terminal import print_json

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia
    from tertulia.core.records import MemberRow, MembershipChange

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """See who is in a conversation, and change it while it runs."""
    help_without_command(context)


class JoiningState(StrEnum):
    """How one may join."""

    ACTIVE = "active"
    MUTED = "muted"
    STANDBY = "standby"


class InFlightPolicy(StrEnum):
    """What becomes of the turn of one that is removed while it speaks."""

    FINISH = "finish"
    DISCARD = "discard"
    CANCEL = "cancel"


InFlightOption = Annotated[
    InFlightPolicy | None,
    typer.Option(
        "--in-flight",
        help="If it speaks just now: its words stand, are dropped, or the call is cancelled; else as the group has it.",
    ),
]


@app.command("list")
def list_members(conversation: Conversation, data: Data = None, as_json: Json = False) -> None:
    """Who is here, who was, and every change so far."""
    from tertulia.starter.cli.tables import members_table, print_changes

    async def read(client: "Tertulia") -> "tuple[list[MemberRow], list[MembershipChange]]":
        await client.conversations.handle(conversation).retrieve()
        return await client.conversations.handle(conversation).members.list(), await client.conversations.handle(
            conversation
        ).members.changes()

    members, changes = with_client(data, read)
    if as_json:
        print_json(
            {
                "conversation_id": conversation,
                "members": [member.model_dump(mode="json") for member in members],
                "changes": [change.model_dump(mode="json") for change in changes],
            }
        )
        return
    members_table(members)
    print_changes(changes, {member.agent_id: member.name for member in members})


@app.command()
def add(
    conversation: Conversation,
    agents: Agents,
    position: Annotated[
        int | None, typer.Option("--position", min=0, metavar="N", help="Place in the order, 0 = first; else last.")
    ] = None,
    catch_up: CatchUpOption = None,
    state: Annotated[JoiningState, typer.Option("--state", help="How it joins.")] = JoiningState.ACTIVE,
    stands_in_for: Annotated[
        str | None, typer.Option("--for", metavar="MEMBER", help="On standby for this member alone; else for any.")
    ] = None,
    id: CommandIdOption = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let agents join.

    Example: tertulia members add CONVERSATION Iris --catch-up last:5
    """

    def join(client: "Tertulia", agent: str, index: int) -> Awaitable[Receipt]:
        place = None if position is None else position + index
        return client.conversations.handle(conversation).members.add(
            agent,
            position=place,
            state=state.value,
            catch_up=catch_up,
            stands_in_for=stands_in_for,
            command_id=id,
        )

    _one_by_one(agents, id, data, as_json, join)


@app.command()
def remove(
    conversation: Conversation,
    agents: Agents,
    in_flight: InFlightOption = None,
    id: CommandIdOption = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let members leave. They keep their state, should they come back."""

    def leave(client: "Tertulia", agent: str, _: int) -> Awaitable[Receipt]:
        return client.conversations.handle(conversation).members.remove(
            agent, in_flight=_policy(in_flight), command_id=id
        )

    _one_by_one(agents, id, data, as_json, leave)


@app.command()
def replace(
    conversation: Conversation,
    agent: Annotated[str, typer.Argument(metavar="MEMBER", help="Who leaves.")],
    replacement: Annotated[str, typer.Argument(metavar="AGENT", help="Who takes the place.")],
    catch_up: CatchUpOption = None,
    in_flight: InFlightOption = None,
    id: CommandIdOption = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let another agent take a member's place in the order."""
    receipt = with_client(
        data,
        lambda client: client.conversations.handle(conversation).members.replace(
            agent, replacement, catch_up=catch_up, in_flight=_policy(in_flight), command_id=id
        ),
    )
    show_receipts([receipt], as_json=as_json)


@app.command()
def reorder(
    conversation: Conversation, agents: Agents, id: CommandIdOption = None, data: Data = None, as_json: Json = False
) -> None:
    """Give the members a new order: name every member once."""
    receipt = with_client(
        data, lambda client: client.conversations.handle(conversation).members.reorder(agents, command_id=id)
    )
    show_receipts([receipt], as_json=as_json)


@app.command()
def mute(
    conversation: Conversation, agents: Agents, id: CommandIdOption = None, data: Data = None, as_json: Json = False
) -> None:
    """Let members stay and read, but not speak."""
    _one_by_one(
        agents,
        id,
        data,
        as_json,
        lambda client, agent, _: client.conversations.handle(conversation).members.mute(agent, command_id=id),
    )


@app.command()
def unmute(
    conversation: Conversation, agents: Agents, id: CommandIdOption = None, data: Data = None, as_json: Json = False
) -> None:
    """Let muted members speak again, or those on standby speak for themselves."""
    _one_by_one(
        agents,
        id,
        data,
        as_json,
        lambda client, agent, _: client.conversations.handle(conversation).members.unmute(agent, command_id=id),
    )


@app.command()
def reinstate(
    conversation: Conversation, agents: Agents, id: CommandIdOption = None, data: Data = None, as_json: Json = False
) -> None:
    """Take isolated members, or managers, for healthy at once."""
    _one_by_one(
        agents,
        id,
        data,
        as_json,
        lambda client, agent, _: client.conversations.handle(conversation).members.reinstate(agent, command_id=id),
    )


def _policy(in_flight: InFlightPolicy | None) -> str | None:
    return None if in_flight is None else in_flight.value


def _one_by_one(
    agents: list[str],
    command_id: str | None,
    data: "Data",
    as_json: bool,
    send: Callable[["Tertulia", str, int], Awaitable[Receipt]],
) -> None:
    """Send one command for each agent, in order; the receipts of those before a refusal are printed."""
    if command_id is not None and len(agents) > 1:
        raise typer.BadParameter("one id is for one command: name one agent", param_hint="--id")
    receipts: list[Receipt] = []

    async def send_all(client: "Tertulia") -> None:
        for index, agent in enumerate(agents):
            receipts.append(await send(client, agent, index))

    try:
        with_client(data, send_all)
    finally:
        if receipts:
            show_receipts(receipts, as_json=as_json)

"""Commands that start conversations and steer them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from tertulia.starter.cli.options import (
    CommandIdOption,
    ConversationArgument,
    DataOption,
    FollowOption,
    FullConversationArgument,
    JsonOption,
    SenderOption,
    WhyOption,
)
from tertulia.starter.cli.session import with_client, with_conversation
from tertulia.starter.cli.tables import print_receipts
from tertulia.starter.cli.terminal import console, print_json, print_json_line

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia
    from tertulia.client.conversation import Conversation

ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; shown in the status and the events.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (start, say, fork, pause, resume, stop, settings, delete):
        app.command()(command)


def start(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group's id or name.")],
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="The first message.")],
    id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="The conversation's id; by default a readable one is drawn."),
    ] = None,
    sender: SenderOption = "User",
    close: Annotated[bool, typer.Option("--close", help="Close the conversation when its round has ended.")] = False,
    follow: FollowOption = False,
    why: WhyOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a conversation and print its id.

    Example: tertulia start "Night shift" "What should we tell the day shift?" --follow
    """

    async def work(client: "Tertulia") -> None:
        conversation = await client.conversations.create(group, message, id=id, sender=sender, close_after_round=close)
        await _present_new(conversation, {"group": group}, follow=follow, why=why, as_json=as_json)

    with_client(data, work)


def say(
    conversation: ConversationArgument,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="The message.")],
    id: CommandIdOption = None,
    sender: SenderOption = "User",
    follow: FollowOption = False,
    why: WhyOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Post a message to a conversation.

    Example: tertulia say CONVERSATION "And what would it cost?" --follow
    """

    async def work(found: "Conversation") -> None:
        after = await found.event_cursor(last=0) if follow else None
        receipt = await found.post(message, sender=sender, message_id=id)
        if after is None:
            print_receipts([receipt], as_json=as_json)
            return
        from tertulia.starter.cli.follow import follow_round

        if as_json:
            print_json_line({"event": "accepted", **receipt.model_dump(mode="json")})
        await follow_round(found, after, why=why, as_json=as_json)

    with_conversation(data, conversation, work)


def fork(
    conversation: ConversationArgument,
    turn: Annotated[
        int | None, typer.Option("--turn", min=0, metavar="N", help="The last shared turn; by default all of them.")
    ] = None,
    agent: Annotated[
        list[str] | None,
        typer.Option("--agent", metavar="AGENT", help="A member, by id or name; repeat it. Default: the present ones."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="A model for every member, instead of their own.")
    ] = None,
    message: Annotated[str | None, typer.Option("--message", metavar="TEXT", help="The first message.")] = None,
    sender: SenderOption = "User",
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The new conversation's id.")] = None,
    follow: FollowOption = False,
    why: WhyOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a conversation that shares the first turns of another one, and print its id.

    Example: tertulia fork CONVERSATION --turn 4 --model gpt-5 --message "Once more, please."
    """

    async def work(client: "Tertulia") -> None:
        source = await client.conversations.find(conversation)
        agent_ids = [(await client.agents.find(one)).id for one in agent or ()]
        new = await source.fork(
            turn=turn, agent_ids=agent_ids or None, model=model, message=message, sender=sender, id=id
        )
        await _present_new(new, {"forked_from": source.id}, follow=follow, why=why, as_json=as_json)

    with_client(data, work)


async def _present_new(
    conversation: "Conversation", origin: dict[str, str], *, follow: bool, why: bool, as_json: bool
) -> None:
    """Print the id of a new conversation and, on request, follow its first round."""
    if as_json:
        (print_json_line if follow else print_json)({"conversation_id": conversation.id, **origin})
    else:
        print(conversation.id, flush=True)
    if follow:
        from tertulia.starter.cli.follow import follow_round

        await follow_round(conversation, 0, why=why, as_json=as_json)
    elif not as_json:
        console(stderr=True).print(f"tertulia watch {conversation.id} shows it live", style="dim", soft_wrap=True)


def pause(
    conversation: ConversationArgument,
    reason: ReasonOption = "",
    id: CommandIdOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause a conversation at the next turn boundary."""
    receipt = with_conversation(data, conversation, lambda found: found.pause(reason, command_id=id))
    print_receipts([receipt], as_json=as_json)


def resume(
    conversation: ConversationArgument, id: CommandIdOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Resume a paused conversation."""
    receipt = with_conversation(data, conversation, lambda found: found.resume(command_id=id))
    print_receipts([receipt], as_json=as_json)


def stop(
    conversation: FullConversationArgument,
    reason: ReasonOption = "",
    id: CommandIdOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a conversation at the next turn boundary, for good."""

    async def work(client: "Tertulia") -> None:
        found = await _find_by_full_id(client, conversation)
        print_receipts([await found.stop(reason, command_id=id)], as_json=as_json)

    with_client(data, work)


def delete(conversation: FullConversationArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Delete a closed conversation: its transcript and everything recorded of it."""

    async def work(client: "Tertulia") -> None:
        found = await _find_by_full_id(client, conversation)
        await client.conversations.delete(found.id)

    with_client(data, work)
    if as_json:
        print_json({"conversation_id": conversation, "deleted": True})
    else:
        print(f"deleted {conversation}")


async def _find_by_full_id(client: "Tertulia", conversation: str) -> "Conversation":
    """Return the conversation with exactly this id; what cannot be undone accepts no abbreviation."""
    from tertulia.core.errors import CommandRefused

    found = await client.conversations.find(conversation)
    if found.id != conversation:
        raise CommandRefused(f"write the full id: {found.id}")
    return found


def settings(
    conversation: ConversationArgument,
    pairs: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="Settings; values as in YAML or JSON.")],
    id: CommandIdOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Update settings of one running conversation.

    Example: tertulia settings CONVERSATION max_turns=12 intake=queue
    """
    changes = dict(_parse_pair(text) for text in pairs)
    receipt = with_conversation(data, conversation, lambda found: found.update_settings(changes, command_id=id))
    print_receipts([receipt], as_json=as_json)


def _parse_pair(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise typer.BadParameter(f"the value of {key!r} is neither YAML nor JSON: {value!r}") from None

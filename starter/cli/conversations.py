"""`start`, `say` and `watch`: to talk, and to listen."""

from typing import TYPE_CHECKING, Annotated

import typer

from tertulia.starter.cli.options import CommandIdOption, Conversation, Data, Follow, Json, Sender, Why
from tertulia.starter.cli.receipts import show_receipt
from tertulia.starter.cli.session import with_client
from tertulia.starter.cli.terminal import console, print_json, print_json_line

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (start, say, watch):
        app.command()(command)


def start(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group's id or unique name.")],
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="What the group is asked.")],
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The conversation's id; else one is made.")
    ] = None,
    sender: Sender = "User",
    close: Annotated[bool, typer.Option("--close", help="Close the conversation when its round has ended.")] = False,
    follow: Follow = False,
    why: Why = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Start a conversation. Its id is printed.

    Example: tertulia start "Night shift" "What should we tell the day shift?" --follow
    """

    async def begin(client: "Tertulia") -> None:
        conversation = await client.conversations.create(group, message, id=id, sender=sender, close_after_round=close)
        new_id = conversation.id
        if as_json:
            (print_json_line if follow else print_json)({"conversation_id": new_id, "group": group})
        else:
            print(new_id, flush=True)
        if follow:
            from tertulia.starter.cli.follow import follow as follow_round

            await follow_round(conversation, 0, why=why, as_json=as_json)
        elif not as_json:
            console(stderr=True).print(f"tertulia watch {new_id} shows it live", style="dim", soft_wrap=True)

    with_client(data, begin)


def say(
    conversation: Conversation,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="What to say.")],
    id: CommandIdOption = None,
    sender: Sender = "User",
    follow: Follow = False,
    why: Why = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say something in a conversation.

    Example: tertulia say CONVERSATION "And what would it cost?" --follow
    """

    async def post(client: "Tertulia") -> None:
        from tertulia.starter.cli.follow import follow as follow_round

        after = await client.conversations.handle(conversation).event_cursor(last=0) if follow else None
        receipt = await client.conversations.handle(conversation).post(message, sender=sender, message_id=id)
        if after is None:
            show_receipt(receipt, as_json=as_json)
            return
        if as_json:
            print_json_line({"event": "accepted", **receipt.model_dump(mode="json")})
        await follow_round(client.conversations.handle(conversation), after, why=why, as_json=as_json)

    with_client(data, post)


def watch(
    conversation: Conversation,
    why: Why = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="Show everything that was said before.")] = False,
    last: Annotated[int, typer.Option("--last", min=0, metavar="N", help="Begin with the last N messages.")] = 20,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show a conversation live, until it closes or Ctrl-C.

    Example: tertulia watch CONVERSATION --why --last 5
    """

    async def look(client: "Tertulia") -> None:
        from tertulia.starter.cli.follow import follow, is_closed

        after = await client.conversations.handle(conversation).event_cursor(last=None if from_start else last)
        await follow(client.conversations.handle(conversation), after, until=is_closed, why=why, as_json=as_json)

    with_client(data, look)

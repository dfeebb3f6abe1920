"""`show`, `status` and `list`: to read what there is."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Annotated

import typer

from tertulia.starter.cli.options import Conversation, Data, Json
from tertulia.starter.cli.session import with_client
from tertulia.starter.cli.terminal import print_json

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia
    from tertulia.core.records import ConversationRow, FinishedTurn, Message


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(show)
    app.command()(status)
    app.command("list")(list_conversations)


def show(
    conversation: Conversation,
    turns: Annotated[bool, typer.Option("--turns", help="A table of turns instead: who, why, at what cost.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print the transcript."""
    if turns:
        _show_turns(conversation, data, as_json)
        return

    async def read(client: "Tertulia") -> "list[Message]":
        return [message async for message in client.conversations.handle(conversation).transcript()]

    messages = with_client(data, read)
    if as_json:
        lines = [message.model_dump(mode="json") for message in messages]
        print_json({"conversation_id": conversation, "messages": lines})
        return
    from tertulia.starter.cli.tables import print_transcript

    print_transcript(messages)


def _show_turns(conversation: str, data: Data, as_json: bool) -> None:
    async def read(client: "Tertulia") -> "list[FinishedTurn]":
        await client.conversations.handle(conversation).retrieve()
        return [turn async for turn in client.conversations.handle(conversation).turns()]

    finished = with_client(data, read)
    if as_json:
        lines = [turn.model_dump(mode="json") for turn in finished]
        print_json({"conversation_id": conversation, "turns": lines})
        return
    from tertulia.starter.cli.tables import print_turns

    print_turns(finished)


def status(conversation: Conversation, data: Data = None, as_json: Json = False) -> None:
    """Print where a conversation stands: phase, roster, cost, what waits and what was refused."""
    from tertulia.starter.cli.tables import print_status

    now = with_client(data, lambda client: client.conversations.handle(conversation).status())
    if as_json:
        print_json(now.model_dump(mode="json"))
    else:
        print_status(now)


def list_conversations(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="At most so many.")] = 20,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List the newest conversations."""

    def read(client: "Tertulia") -> "Awaitable[list[ConversationRow]]":
        return client.conversations.list(limit=limit)

    rows = with_client(data, read)
    if as_json:
        print_json([row.model_dump(mode="json", exclude={"final_status", "organisation_id"}) for row in rows])
        return
    from tertulia.starter.cli.tables import print_conversations

    print_conversations(rows)

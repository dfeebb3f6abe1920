"""`pause`, `resume`, `stop` and `settings`: to steer a running conversation."""

from typing import Annotated, Any

import typer
import yaml

from tertulia.starter.cli.options import CommandIdOption, Conversation, Data, Json
from tertulia.starter.cli.receipts import show_receipt
from tertulia.starter.cli.session import with_client

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who look in.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (pause, resume, stop, settings):
        app.command()(command)


def pause(
    conversation: Conversation,
    reason: Reason = "",
    id: CommandIdOption = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a conversation rest from the next turn boundary on."""
    receipt = with_client(data, lambda client: client.conversations.handle(conversation).pause(reason, command_id=id))
    show_receipt(receipt, as_json=as_json)


def resume(conversation: Conversation, id: CommandIdOption = None, data: Data = None, as_json: Json = False) -> None:
    """Let a paused conversation go on."""
    receipt = with_client(data, lambda client: client.conversations.handle(conversation).resume(command_id=id))
    show_receipt(receipt, as_json=as_json)


def stop(
    conversation: Conversation,
    reason: Reason = "",
    id: CommandIdOption = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Close a conversation at the next turn boundary, for good."""
    receipt = with_client(data, lambda client: client.conversations.handle(conversation).stop(reason, command_id=id))
    show_receipt(receipt, as_json=as_json)


def settings(
    conversation: Conversation,
    pairs: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="Settings; values as in YAML or JSON.")],
    id: CommandIdOption = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Change settings of one running conversation.

    Example: tertulia settings CONVERSATION max_turns=12 intake=queue
    """
    changes = dict(_pair(text) for text in pairs)
    receipt = with_client(
        data, lambda client: client.conversations.handle(conversation).update_settings(changes, command_id=id)
    )
    show_receipt(receipt, as_json=as_json)


def _pair(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise typer.BadParameter(f"the value of {key!r} is neither YAML nor JSON: {value!r}") from None

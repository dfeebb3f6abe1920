"""The arguments and options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

Conversation = Annotated[str, typer.Argument(metavar="CONVERSATION", help="The conversation's id.")]
Agents = Annotated[list[str], typer.Argument(metavar="AGENT", help="Agents by id or unique name.")]

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The embedded stack's folder (TERTULIA_DATA, or else .tertulia)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
CommandIdOption = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", help="The command's id: sent again with the same id, it counts once."),
]
Sender = Annotated[str, typer.Option("--sender", metavar="NAME", help="The name that stands before the words.")]
Follow = Annotated[bool, typer.Option("--follow", help="Show what is said until the round ends.")]
Why = Annotated[bool, typer.Option("--why", help="Show why each speaker was chosen.")]
CatchUpOption = Annotated[
    str | None,
    typer.Option("--catch-up", metavar="full|none|last:N", help="What it gets to read of what was said before."),
]


def help_without_command(context: typer.Context) -> None:
    """A group of commands that is called without one shows its help, which is still wrong usage."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)

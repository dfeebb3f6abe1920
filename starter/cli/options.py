"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ConversationArgument = Annotated[
    str, typer.Argument(metavar="CONVERSATION", help="The conversation's id, or an unambiguous beginning of it.")
]
FullConversationArgument = Annotated[str, typer.Argument(metavar="CONVERSATION", help="The conversation's full id.")]
AgentsArgument = Annotated[list[str], typer.Argument(metavar="AGENT", help="Agents by id or name.")]

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of the embedded stack (TERTULIA_DATA; default .tertulia)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
CommandIdOption = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", help="Id of this command: sent again with the same id, it counts once."),
]
SenderOption = Annotated[str, typer.Option("--sender", metavar="NAME", help="Name of the message's sender.")]
FollowOption = Annotated[bool, typer.Option("--follow", help="Show the round until it ends.")]
WhyOption = Annotated[bool, typer.Option("--why", help="Show why each speaker was selected.")]
TimesOption = Annotated[bool, typer.Option("--times", help="Show times in full (local time, ISO 8601).")]
CatchUpOption = Annotated[
    str | None,
    typer.Option("--catch-up", metavar="full|none|last:N", help="The part of the transcript that it reads first."),
]


def require_subcommand(context: typer.Context) -> None:
    """Print the help of a command group that was called without a command; the exit code is that of wrong usage."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)

"""The command `tertulia`: its commands, and how it ends. Exit codes: 0 done, 1 failed, 2 wrong usage."""

import os
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from tertulia.starter.cli import apply, conversations, encryption, keys, members, reading, stack, steering
from tertulia.starter.cli.options import help_without_command
from tertulia.starter.cli.session import in_words
from tertulia.starter.cli.terminal import safe

_EXAMPLES = """
\b
Examples:
  tertulia demo                             see it all, in a minute
  tertulia up                               and then, in another terminal:
  tertulia apply examples/*.yaml
  tertulia start "The long table" "Should our town close its main square to cars?" --follow --why
  tertulia list
  tertulia say CONVERSATION "What would you try first?" --follow
  tertulia members add CONVERSATION Iris
  tertulia watch CONVERSATION --why

\b
With TERTULIA_URL, and a key in TERTULIA_API_KEY, those that define, talk, read and steer work through the API there;
else with the servers that are configured, or the stack of this folder.
"""

app = typer.Typer(
    name="tertulia",
    help="Group conversations between AI agents that nothing can interrupt.",
    epilog=_EXAMPLES,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for register in (
    stack.register,
    apply.register,
    conversations.register,
    reading.register,
    steering.register,
    keys.register,
):
    register(app)
app.add_typer(members.app, name="members")
app.add_typer(encryption.app, name="encryption")


def _print_version(asked: bool) -> None:
    if asked:
        print(f"tertulia {version('tertulia')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Group conversations between AI agents that nothing can interrupt."""
    help_without_command(context)


def main() -> NoReturn:
    """Run one command and end the process with its exit code."""
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            code = code or 1
    # Temporal's client has threads that may call into Python while it shuts down, which aborts the process (with codes
    # 134 or 139, about one run in four; temporalio/sdk-python issue 300). All is written: leave without a shutdown.
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run one command; the exit code. An error is one line on standard error."""
    try:
        ended = app(arguments, prog_name="tertulia", standalone_mode=False)
    except TyperException as error:
        context: typer.Context | None = getattr(error, "ctx", None)
        path = context.command_path if context else "tertulia"
        return _fail(f"{error.format_message()} `{path} --help` shows how it is used.", error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:
        message = in_words(error)
        if message is None:
            raise
        return _fail(message, 1)
    return ended if isinstance(ended, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"tertulia: {safe(message)}", file=sys.stderr)
    return code

"""The command `tertulia`: its commands and its exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""

import os
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from tertulia.starter.cli import apply, conversations, definitions, encryption, keys, members, stack, transcript
from tertulia.starter.cli.demo import command as demo
from tertulia.starter.cli.options import require_subcommand
from tertulia.starter.cli.session import format_error
from tertulia.starter.cli.terminal import escape_controls

_EXAMPLES = """
\b
Examples:
  tertulia demo                             a demonstration of one minute
  tertulia up                               the whole stack; then, in another terminal:
  tertulia apply examples/*.yaml
  tertulia start "The long table" "Should our town close its main square to cars?" --follow --why
  tertulia list
  tertulia say CONVERSATION "What would you try first?" --follow
  tertulia members add CONVERSATION Iris
  tertulia watch CONVERSATION --why

\b
With TERTULIA_URL and a key in TERTULIA_API_KEY, commands use the API at that address; otherwise they use the
configured Temporal and Postgres, or the embedded stack of this folder.

\b
Shell completion: tertulia --install-completion
"""

app = typer.Typer(
    name="tertulia",
    help="Durable group conversations between AI agents.",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for register in (
    demo.register,
    stack.register,
    apply.register,
    conversations.register,
    transcript.register,
    definitions.register,
    keys.register,
):
    register(app)
app.add_typer(members.app, name="members")
app.add_typer(encryption.app, name="encryption")


def _print_version(is_requested: bool) -> None:
    if is_requested:
        print(f"tertulia {version('tertulia')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Durable group conversations between AI agents."""
    require_subcommand(context)


def main() -> NoReturn:
    """Run one command and end the process with its exit code."""
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            code = code or 1
    # Temporal's client has threads that may call into Python while it shuts down, which aborts the process with code
    # 134 or 139 in about one run of four (temporalio/sdk-python issue 300). All output is written: skip the shutdown.
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code. An error is one line on standard error."""
    try:
        result = app(arguments, prog_name="tertulia", standalone_mode=False)
    except TyperException as error:
        context: typer.Context | None = getattr(error, "ctx", None)
        path = context.command_path if context else "tertulia"
        return _fail(f"{error.format_message()} `{path} --help` shows the usage.", error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:
        message = format_error(error)
        if message is None:
            raise
        return _fail(message, 1)
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"tertulia: {escape_controls(message)}", file=sys.stderr)
    return code

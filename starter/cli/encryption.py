"""`encryption`: keys that encrypt what Temporal stores."""

import secrets
from base64 import b64encode
from datetime import UTC, datetime
from typing import Annotated

import typer

from tertulia.starter.cli.options import require_subcommand

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Keys that encrypt what Temporal stores (TERTULIA_ENCRYPTION_KEYS)."""
    require_subcommand(context)


@app.command("new-key")
def new_key(
    key_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="The key's id; by default today's date and four random digits."),
    ] = None,
) -> None:
    """Create a key and print it, ready for TERTULIA_ENCRYPTION_KEYS. It is stored nowhere."""
    from tertulia.configuration import ENCRYPTION_KEY_BYTES, KEY_ID_PATTERN

    if key_id is None:
        key_id = f"{datetime.now(UTC):%Y-%m-%d}-{secrets.token_hex(2)}"
    elif not KEY_ID_PATTERN.fullmatch(key_id):
        raise typer.BadParameter(
            "an id has letters, digits, '.', '_' and '-', 32 characters at most, and begins with a letter or digit",
            param_hint="--id",
        )
    print(f"{key_id}:{b64encode(secrets.token_bytes(ENCRYPTION_KEY_BYTES)).decode()}")

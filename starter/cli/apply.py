"""`apply`: create or update agents and groups from YAML files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tertulia.starter.cli.options import DataOption, JsonOption
from tertulia.starter.cli.session import with_client
from tertulia.starter.cli.terminal import console, one_line, print_json

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia
    from tertulia.client.manifest import ApplyResult

_STYLES = {"created": "green", "updated": "yellow", "unchanged": "dim"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("apply")(apply)


def apply(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.yaml", help="Files of agents and groups.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create or update agents and groups. Entries that are up to date stay unchanged.

    Example: tertulia apply examples/*.yaml
    """
    from tertulia.client.manifest import read_manifest

    # All files are read before the first is applied, so that a mistake in one changes nothing.
    manifests = [read_manifest(path) for path in files]

    async def apply_all(client: "Tertulia") -> "list[ApplyResult]":
        return [line for manifest in manifests for line in await client.apply(manifest)]

    applied = with_client(data, apply_all)
    if as_json:
        print_json([line.model_dump(mode="json") for line in applied])
        return
    out = console()
    for line in applied:
        out.print(f"{line.outcome:<9}", style=_STYLES[line.outcome], end=" ")
        out.print(f"{line.kind} {one_line(line.name)} ({line.id})", soft_wrap=True)

"""`up`, `api`, `migrate` and `worker`: run processes and migrate the database."""

import asyncio
import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tertulia.starter.cli.options import DataOption
from tertulia.starter.cli.session import load_configuration, silence_library_logs
from tertulia.starter.cli.terminal import console

if TYPE_CHECKING:
    from tertulia.devstack.events import StackEvent
    from tertulia.devstack.stack import Stack, StackOptions

_EVENT_STYLES = {"ready": "green", "ended": "red", "stopped": "dim", "started": "dim"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (up, migrate, worker, api):
        app.command()(command)


def up(
    data: DataOption = None,
    temporal_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Temporal's port; 0 = any free one.")
    ] = 7233,
    ui_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The port of Temporal's UI; 0 = any free one.")
    ] = 8233,
    model_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The offline model's port; 0 = any free one.")
    ] = 8234,
    api_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The API's port; 0 = any free one.")
    ] = 8230,
    workers: Annotated[int, typer.Option(min=0, max=64, metavar="N", help="How many worker processes.")] = 1,
) -> None:
    """Run the whole stack in the foreground until Ctrl-C.

    Its state is in the data folder: the next `up` on the same folder resumes everything. Servers that the environment
    configures (DATABASE_URL, TEMPORAL_ADDRESS, OPENAI_BASE_URL, …) are used instead of embedded ones.
    """
    from tertulia.devstack.stack import StackOptions

    options = StackOptions(
        data=load_configuration(data).data_folder,
        temporal_port=temporal_port,
        ui_port=ui_port,
        model_port=model_port,
        api_port=api_port,
        workers=workers,
    )
    silence_library_logs()
    asyncio.run(_run_stack(options))


async def _run_stack(options: "StackOptions") -> None:
    from tertulia.devstack.prepare import migrate_and_create_key
    from tertulia.devstack.stack import Stack

    out = console()

    def report(event: "StackEvent") -> None:
        out.print(str(event), style=_EVENT_STYLES[event.kind], soft_wrap=True)

    async with Stack(options, prepare=migrate_and_create_key, report=report) as stack:
        _print_banner(out, stack)
        await stack.wait()


def _print_banner(out: Console, stack: "Stack") -> None:
    from tertulia.devstack.local_key import KEY_FILE

    configuration = stack.configuration
    endpoint = configuration.model_endpoint
    api_url = stack.addresses.api_url
    addresses = {
        "API": f"{api_url}, documented at {api_url}/docs" if api_url else "(none)",
        "Temporal UI": configuration.temporal_ui_url or "(none)",
        "Temporal": configuration.temporal_address,
        "data": str(configuration.data_folder),
        "models": "the offline model: no real model is configured"
        if endpoint.offline
        else endpoint.base_url or "OpenAI",
    }
    out.print()
    out.print("Tertulia is up. Ctrl-C stops it.", style="bold")
    for label, address in addresses.items():
        out.print(f"  {label:<12} {address}", soft_wrap=True)
    if endpoint.offline:
        hint = "  OPENAI_API_KEY or OPENAI_BASE_URL lets a real one answer (any OpenAI-compatible endpoint)."
        out.print(hint, style="dim", soft_wrap=True)
    if api_url:
        key = shlex.quote(str(configuration.data_folder / KEY_FILE))
        example = f'  curl -H "Authorization: Bearer $(cat {key})" {api_url}/v1/agents/'
        out.print(example, style="dim", soft_wrap=True)
    out.print()


def migrate(data: DataOption = None) -> None:
    """Migrate the database to this version."""
    from tertulia.store.migrate import current_revision, upgrade

    url = load_configuration(data).database_url
    before = current_revision(url)
    after = upgrade(url)
    if before == after:
        print(f"the database is up to date ({after})")
    else:
        print(f"the database was migrated: {before or 'empty'} -> {after}")


def worker(data: DataOption = None) -> None:
    """Run a worker in the foreground, as `python worker.py` does."""
    load_configuration(data)
    from tertulia import worker as worker_process

    raise typer.Exit(worker_process.main())


def api(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on (TERTULIA_API_HOST; default 127.0.0.1).")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="PORT",
            help="Port to listen on, 0 = any free one (TERTULIA_API_PORT; default 8230).",
        ),
    ] = None,
    data: DataOption = None,
) -> None:
    """Serve the API in the foreground, as `python -m tertulia.api` does."""
    load_configuration(data)
    from tertulia.api.__main__ import main

    arguments = [f"--host={host}"] if host else []
    raise typer.Exit(main(arguments if port is None else [*arguments, f"--port={port}"]))

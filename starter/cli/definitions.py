"""`agents`, `groups` and `blocks`: list, show and delete what groups are made of. `apply` creates and updates them."""

from typing import TYPE_CHECKING, Annotated

import typer

from tertulia.starter.cli.options import DataOption, JsonOption, require_subcommand
from tertulia.starter.cli.session import with_client
from tertulia.starter.cli.terminal import one_line, print_json

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia
    from tertulia.core.agents import StoredAgent
    from tertulia.core.blocks import Block
    from tertulia.core.group import StoredGroup

agents = typer.Typer(help="Agents: list, show, delete.", rich_markup_mode=None)
groups = typer.Typer(help="Groups: list, show, delete.", rich_markup_mode=None)
blocks = typer.Typer(help="Memory blocks: list, show, delete.", rich_markup_mode=None)

AgentArgument = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's id or name.")]
GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="The group's id or name.")]
BlockArgument = Annotated[str, typer.Argument(metavar="BLOCK", help="The block's id.")]
FullIdArgument = Annotated[str, typer.Argument(metavar="ID", help="The full id.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="How many at most; by default all.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(agents, name="agents")
    app.add_typer(groups, name="groups")
    app.add_typer(blocks, name="blocks")


@agents.callback(invoke_without_command=True)
@groups.callback(invoke_without_command=True)
@blocks.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    require_subcommand(context)


@agents.command("list")
def list_agents(
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="Only with this tag; repeat it for any of several.")
    ] = None,
    limit: LimitOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the agents, the oldest first."""
    rows = with_client(data, lambda client: client.agents.list(tags=tag or (), limit=limit))
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    from tertulia.starter.cli.tables import print_agents

    print_agents(rows)


@agents.command("show")
def show_agent(agent: AgentArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print an agent: instructions, model, blocks."""
    found = with_client(data, lambda client: client.agents.find(agent))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    from tertulia.starter.cli.tables import print_agent

    print_agent(found)


@agents.command("delete")
def delete_agent(
    agent: FullIdArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Also remove it from all groups and running conversations.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete an agent that no group has, or with --force any."""

    async def work(client: "Tertulia") -> "StoredAgent":
        found = await client.agents.find(agent)
        _check_full_id(agent, found.id)
        await client.agents.delete(found.id, force=force)
        return found

    deleted = with_client(data, work)
    _print_deleted("agent", deleted.id, deleted.name, as_json=as_json)


@groups.command("list")
def list_groups(limit: LimitOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the groups, the oldest first."""
    rows = with_client(data, lambda client: client.groups.list(limit=limit))
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    from tertulia.starter.cli.tables import print_groups

    print_groups(rows)


@groups.command("show")
def show_group(group: GroupArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print a group: members, manager, settings, blocks."""

    async def work(client: "Tertulia") -> "tuple[StoredGroup, dict[str, str]]":
        from tertulia.core.errors import NotFound

        found = await client.groups.find(group)
        names: dict[str, str] = {}
        for agent_id in found.group.member_ids:
            try:
                names[agent_id] = (await client.agents.retrieve(agent_id)).name
            except NotFound:
                # Deleted since the group was read: its id is printed.
                continue
        return found, names

    found, names = with_client(data, work)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    from tertulia.starter.cli.tables import print_group

    print_group(found, names)


@groups.command("delete")
def delete_group(
    group: FullIdArgument,
    keep_conversations: Annotated[
        bool, typer.Option("--keep-conversations", help="Let its running conversations continue without it.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a group and close its running conversations; transcripts stay."""

    async def work(client: "Tertulia") -> "StoredGroup":
        found = await client.groups.find(group)
        _check_full_id(group, found.group.id)
        await client.groups.delete(found.group.id, conversations="detach" if keep_conversations else "close")
        return found

    deleted = with_client(data, work).group
    _print_deleted("group", deleted.id, deleted.name, as_json=as_json)


@blocks.command("list")
def list_blocks(
    label: Annotated[str | None, typer.Option("--label", metavar="TEXT", help="Only with this label.")] = None,
    limit: LimitOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the memory blocks, the oldest first."""
    rows = with_client(data, lambda client: client.blocks.list(label=label, limit=limit))
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    from tertulia.starter.cli.tables import print_blocks

    print_blocks(rows)


@blocks.command("show")
def show_block(block: BlockArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print a memory block."""
    found = with_client(data, lambda client: client.blocks.retrieve(block))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    from tertulia.starter.cli.tables import print_block

    print_block(found)


@blocks.command("delete")
def delete_block(block: FullIdArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Delete a memory block and detach it from every agent and group."""

    async def work(client: "Tertulia") -> "Block":
        found = await client.blocks.retrieve(block)
        await client.blocks.delete(found.id)
        return found

    deleted = with_client(data, work)
    _print_deleted("block", deleted.id, deleted.label, as_json=as_json)


def _check_full_id(given: str, found: str) -> None:
    """Refuse a name where something is deleted: names can be given to another agent or group."""
    from tertulia.core.errors import CommandRefused

    if given != found:
        raise CommandRefused(f"{given!r} is a name; write the id: {found}")


def _print_deleted(kind: str, row_id: str, name: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"kind": kind, "id": row_id, "deleted": True})
    else:
        print(f"deleted the {kind} {one_line(name)} ({row_id})")

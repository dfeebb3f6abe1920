"""`keys` and `organisations`: API keys, and the organisations that they belong to."""

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Table

from tertulia.core.errors import CommandRefused
from tertulia.starter.cli.options import DataOption, JsonOption, require_subcommand
from tertulia.starter.cli.session import load_configuration, with_client, with_operator
from tertulia.starter.cli.terminal import console, one_line, print_json

T = TypeVar("T")

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tertulia.client.keys import Keys
    from tertulia.client.operator import Operator
    from tertulia.core.records import KeyRow

keys = typer.Typer(help="API keys: create, list, revoke.", rich_markup_mode=None)
organisations = typer.Typer(help="Organisations: create, list.", rich_markup_mode=None)

OrganisationOption = Annotated[
    str | None,
    typer.Option(
        "--organisation",
        metavar="ID",
        help="The organisation; by default TERTULIA_ORGANISATION, or with TERTULIA_URL that of your key.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(keys, name="keys")
    app.add_typer(organisations, name="organisations")


@keys.callback(invoke_without_command=True)
@organisations.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    require_subcommand(context)


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE", help="read, post, operate or admin; each includes those before it. Default: operate."
        ),
    ] = None,
    organisation: OrganisationOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it. It is shown this once: only its hash is stored.

    Example: tertulia keys create "night shift" --scope post
    """
    created = _with_keys(data, organisation, lambda keys: keys.create(name, scopes=scope or ("operate",)))
    if as_json:
        print_json({**_key_to_json(created.key), "key": created.secret})
        return
    print(created.secret)
    scopes = ", ".join(created.key.scopes)
    console(stderr=True).print(
        f"{created.key.id} may {scopes} in {created.key.organisation_id!r}. This key is shown only once.",
        soft_wrap=True,
    )


@keys.command("list")
def list_(organisation: OrganisationOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the keys of an organisation, the oldest first, with their last use."""
    rows = _with_keys(data, organisation, lambda keys: keys.list())
    if as_json:
        print_json([_key_to_json(row) for row in rows])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "key", "scopes", "last used", "state"):
        table.add_column(heading)
    for row in rows:
        used = row.used_at.strftime("%Y-%m-%d %H:%M") if row.used_at else "never"
        state = "revoked" if row.revoked_at else "valid"
        table.add_row(row.id, one_line(row.name), f"{row.hint}…", ", ".join(row.scopes), used, state)
    console().print(table)


@keys.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, which `tertulia keys list` shows.")],
    organisation: OrganisationOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key at once and for good."""
    row = _with_keys(data, organisation, lambda keys: keys.delete(key))
    if as_json:
        print_json(_key_to_json(row))
    else:
        print(f"{row.id} ({one_line(row.name)}) is revoked")


@organisations.command("create")
def create_organisation(
    organisation: Annotated[str, typer.Argument(metavar="ID", help="A short id that never changes.")],
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Its full name; by default the id.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an organisation. Organisations cannot see each other's data.

    Example: tertulia organisations create acme && tertulia keys create acme-bot --organisation acme
    """
    created = with_operator(data, lambda operator: operator.organisations.create(organisation, name=name))
    if as_json:
        print_json(created.model_dump(mode="json"))
    else:
        print(f"created the organisation {created.id}")


@organisations.command("list")
def list_organisations(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List all organisations."""
    found = with_operator(data, lambda operator: operator.organisations.list())
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
        return
    for one in found:
        print(one.id if one.name == one.id else f"{one.id} ({one_line(one.name)})")


def _with_keys(data: DataOption, organisation: str | None, work: "Callable[[Keys], Awaitable[T]]") -> T:
    """Do `work` with the keys of an organisation, by default the client's own."""
    if organisation is None:
        return with_client(data, lambda client: work(client.keys))
    if load_configuration(data).api_url is not None and data is None:
        raise CommandRefused("--organisation: with TERTULIA_URL, keys are those of your own key's organisation alone")

    async def with_organisation(operator: "Operator") -> T:
        return await work((await operator.organisation(organisation)).keys)

    return with_operator(data, with_organisation)


def _key_to_json(row: "KeyRow") -> dict[str, Any]:
    return row.model_dump(mode="json")

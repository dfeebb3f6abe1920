"""`keys` and `organisations`: who may use the API, and whose rows they see. Organisations are made on the database."""

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Table

from tertulia.core.errors import CommandRefused
from tertulia.starter.cli.options import Data, Json, help_without_command
from tertulia.starter.cli.session import configured, with_client, with_operator
from tertulia.starter.cli.terminal import console, one_line, print_json

T = TypeVar("T")

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tertulia.client.keys import Keys
    from tertulia.client.operator import Operator
    from tertulia.core.records import KeyRow

keys = typer.Typer(help="Keys for the API.", rich_markup_mode=None)
organisations = typer.Typer(help="Organisations, whose rows are kept apart.", rich_markup_mode=None)

Organisation = Annotated[
    str | None,
    typer.Option(
        "--organisation",
        metavar="ID",
        help="Whose; `tertulia organisations list` names them. Else `local`, or with TERTULIA_URL that of your key.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(keys, name="keys")
    app.add_typer(organisations, name="organisations")


@keys.callback(invoke_without_command=True)
@organisations.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    help_without_command(context)


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read, post, operate or admin, each with those before it; operate where none is named."),
    ] = None,
    organisation: Organisation = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it. It is shown this once: what is kept cannot be read back.

    Example: tertulia keys create "night shift" --scope post
    """
    made = _with_keys(data, organisation, lambda keys: keys.create(name, scopes=scope or ("operate",)))
    if as_json:
        print_json({**_as_json(made.key), "key": made.secret})
        return
    print(made.secret)
    scopes = ", ".join(made.key.scopes)
    console(stderr=True).print(
        f"{made.key.id} may {scopes} in {made.key.organisation_id!r}. The key is shown this once.", soft_wrap=True
    )


@keys.command("list")
def list_(organisation: Organisation = None, data: Data = None, as_json: Json = False) -> None:
    """Show an organisation's keys, the oldest first, and when each was last used."""
    rows = _with_keys(data, organisation, lambda keys: keys.list())
    if as_json:
        print_json([_as_json(row) for row in rows])
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
    organisation: Organisation = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key invalid, at once and for ever."""
    row = _with_keys(data, organisation, lambda keys: keys.delete(key))
    if as_json:
        print_json(_as_json(row))
    else:
        print(f"{row.id} ({one_line(row.name)}) is revoked")


@organisations.command("create")
def create_organisation(
    organisation: Annotated[str, typer.Argument(metavar="ID", help="A short id, which never changes.")],
    name: Annotated[str | None, typer.Option(help="Its name in full; the id where there is none.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make an organisation, which sees nothing of the others'.

    Example: tertulia organisations create acme && tertulia keys create acme-bot --organisation acme
    """
    made = with_operator(data, lambda operator: operator.organisations.create(organisation, name=name))
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        print(f"made the organisation {made.id}")


@organisations.command("list")
def list_of_organisations(data: Data = None, as_json: Json = False) -> None:
    """Show all organisations."""
    found = with_operator(data, lambda operator: operator.organisations.list())
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
        return
    for one in found:
        print(one.id if one.name == one.id else f"{one.id} ({one_line(one.name)})")


def _with_keys(data: Data, organisation: str | None, work: "Callable[[Keys], Awaitable[T]]") -> T:
    """Do `work` with the keys of an organisation, by default the client's own."""
    if organisation is None:
        return with_client(data, lambda client: work(client.keys))
    if configured(data).api_url is not None and data is None:
        raise CommandRefused("--organisation: with TERTULIA_URL, keys are those of your own key's organisation alone")

    async def with_organisation(operator: "Operator") -> T:
        return await work((await operator.organisation(organisation)).keys)

    return with_operator(data, with_organisation)


def _as_json(row: "KeyRow") -> dict[str, Any]:
    return row.model_dump(mode="json")

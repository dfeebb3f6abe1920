"""Commands of running conversations: one route for each, answered with its receipt."""

from collections.abc import Awaitable, Callable
from inspect import getdoc
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header

from tertulia.api.dependencies import SharedConnection, organisation_scope
from tertulia.api.security import require
from tertulia.core.commands import COMMANDS, PATHS, Command, PostMessage, Receipt, UpdateSettings
from tertulia.core.keys import Scope
from tertulia.service.command_updates import send_command
from tertulia.service.principal import Principal

router = APIRouter(prefix="/conversations/{conversation_id}", tags=["commands"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="As `command_id` in the body: with the same one, a command counts once.",
    ),
]


def _command_endpoint(kind: type[Command], scope: Scope) -> Callable[..., Awaitable[Receipt]]:
    async def send(
        connection: SharedConnection,
        principal: Annotated[Principal, Depends(require(scope))],
        conversation_id: str,
        body: Any,
        idempotency_key: IdempotencyKey = None,
    ) -> Receipt:
        command = body
        if command.command_id is None and idempotency_key is not None:
            command = command.model_copy(update={"command_id": idempotency_key})
        return await send_command(organisation_scope(connection, principal), conversation_id, command)

    send.__annotations__["body"] = kind
    send.__doc__ = getdoc(kind)
    return send


for _name, _kind in COMMANDS.items():
    router.add_api_route(
        f"/{PATHS[_name]}",
        _command_endpoint(_kind, "post" if _kind is PostMessage else "operate"),
        methods=["PATCH" if _kind is UpdateSettings else "POST"],
        status_code=202,
        name=_kind.__name__,
    )

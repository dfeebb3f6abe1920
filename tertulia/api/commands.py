"""Commands to open conversations: one route per command of the core; the response is the command's receipt."""

from collections.abc import Awaitable, Callable, Mapping
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

SUMMARIES: Mapping[str, str] = {
    "post_message": "Post a message",
    "add_member": "Add a member",
    "remove_member": "Remove a member",
    "replace_member": "Replace a member",
    "reorder_members": "Reorder the members",
    "mute_member": "Mute a member",
    "unmute_member": "Unmute a member",
    "reinstate_member": "Reinstate a member",
    "update_settings": "Change the settings of a conversation",
    "pause": "Pause a conversation",
    "resume": "Resume a conversation",
    "stop": "Stop a conversation",
}
"""Titles of the routes, by command name."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Default of `command_id`: a repeated id changes nothing and gets the first receipt again.",
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

    # FastAPI reads the class of the body and the description of the route from the function.
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
        summary=SUMMARIES[_name],
    )

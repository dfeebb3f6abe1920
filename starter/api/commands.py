"""What can be told to a conversation that runs: one route for each command, with its receipt for an answer."""

from collections.abc import Awaitable, Callable
from inspect import getdoc
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header

from groups.commands import (
    AddMember,
    Command,
    MuteMember,
    Pause,
    PostMessage,
    Receipt,
    ReinstateMember,
    RemoveMember,
    ReorderMembers,
    ReplaceMember,
    Resume,
    Stop,
    UnmuteMember,
    UpdateSettings,
)
from starter.api.security import require
from starter.api.services import Client
from starter.service.principal import Principal, Scope

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

_ROUTES: tuple[tuple[str, str, type[Command], Scope], ...] = (
    ("POST", "/messages", PostMessage, "post"),
    ("POST", "/members/add", AddMember, "operate"),
    ("POST", "/members/remove", RemoveMember, "operate"),
    ("POST", "/members/replace", ReplaceMember, "operate"),
    ("POST", "/members/reorder", ReorderMembers, "operate"),
    ("POST", "/members/mute", MuteMember, "operate"),
    ("POST", "/members/unmute", UnmuteMember, "operate"),
    ("POST", "/members/reinstate", ReinstateMember, "operate"),
    ("PATCH", "/settings", UpdateSettings, "operate"),
    ("POST", "/pause", Pause, "operate"),
    ("POST", "/resume", Resume, "operate"),
    ("POST", "/stop", Stop, "operate"),
)


def _route(kind: type[Command], scope: Scope) -> Callable[..., Awaitable[Receipt]]:
    async def tell(
        client: Client,
        principal: Annotated[Principal, Depends(require(scope))],
        conversation_id: str,
        body: Any,
        idempotency_key: IdempotencyKey = None,
    ) -> Receipt:
        command = body
        if command.command_id is None and idempotency_key is not None:
            command = command.model_copy(update={"command_id": idempotency_key})
        return await client.within(principal.organisation_id).send(conversation_id, command)

    tell.__annotations__["body"] = kind
    tell.__doc__ = getdoc(kind)
    return tell


for _method, _path, _kind, _scope in _ROUTES:
    router.add_api_route(_path, _route(_kind, _scope), methods=[_method], status_code=202, name=_kind.__name__)

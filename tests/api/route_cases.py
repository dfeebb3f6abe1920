"""Requests of every route, for tests that cover all routes. A missing route fails these tests."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from tertulia.core.keys import Scope

Json = dict[str, Any]


@dataclass(frozen=True)
class TenantResources:
    """Ids of one organisation: one resource of each kind, by the names of the routes' parameters."""

    agent_id: str
    block_id: str
    block_label: str
    group_id: str
    conversation_id: str
    message_id: str
    key_id: str


def _no_body(own: TenantResources) -> Json | None:
    return None


def _no_bodies(theirs: TenantResources, own: TenantResources) -> list[Json]:
    return []


@dataclass(frozen=True)
class Route:
    """A valid request of one route."""

    scope: Scope | None
    """Scope that the route needs; None = no key, or a guard of its own."""
    body: Callable[[TenantResources], Json | None] = _no_body
    """A valid body. Ids in it belong to the organisation of the request's key."""
    foreign_bodies: Callable[[TenantResources, TenantResources], list[Json]] = _no_bodies
    """Bodies with an id of another organisation, each in another field."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters that take an id, with the kind of the id."""
    refusal_status: int = 404
    """Status of a foreign body; 400 where the conversation would also refuse an id of the own organisation."""


def foreign_paths(template: str, theirs: TenantResources, own: TenantResources) -> Iterator[str]:
    """Yield the path with foreign ids in every combination of its parameters."""
    names = [part[1:-1] for part in template.split("/") if part.startswith("{")]
    for chosen in product((theirs, own), repeat=len(names)):
        if theirs in chosen:
            values = {name: getattr(resources, name) for name, resources in zip(names, chosen, strict=True)}
            yield template.format(**values)


def own_path(template: str, own: TenantResources) -> str:
    return template.format(**vars(own))


def _read(page_of: str | None = None, **query: str) -> Route:
    pages = {} if page_of is None else {"before": page_of, "after": page_of}
    return Route("read", query=pages | query)


def _command() -> Route:
    return Route("operate", body=lambda own: {})


def _member_command(refusal_status: int = 400) -> Route:
    return Route(
        "operate",
        body=lambda own: {"agent": own.agent_id},
        foreign_bodies=lambda theirs, own: [{"agent": theirs.agent_id}],
        refusal_status=refusal_status,
    )


_CONVERSATION_FILTERS = {"group_id": "group_id", "id_prefix": "conversation_id", "member": "agent_id"}
_MESSAGE = {"role": "user", "content": "Good evening."}

ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/v1/health/"): Route(None),
    ("GET", "/v1/health/ready"): Route(None),
    ("GET", "/v1/agents/"): _read("agent_id"),
    ("POST", "/v1/agents/"): Route(
        "operate",
        body=lambda own: {"block_ids": [own.block_id]},
        foreign_bodies=lambda theirs, own: [
            {"block_ids": [theirs.block_id]},
            {"block_ids": [own.block_id, theirs.block_id]},
        ],
    ),
    ("GET", "/v1/agents/count"): _read(),
    ("GET", "/v1/agents/{agent_id}"): _read(),
    ("PATCH", "/v1/agents/{agent_id}"): Route(
        "operate",
        body=lambda own: {"description": "changed"},
        foreign_bodies=lambda theirs, own: [{"block_ids": [theirs.block_id]}],
    ),
    ("DELETE", "/v1/agents/{agent_id}"): Route("operate"),
    ("GET", "/v1/agents/{agent_id}/groups"): _read("group_id"),
    ("GET", "/v1/agents/{agent_id}/core-memory"): _read(),
    ("GET", "/v1/agents/{agent_id}/core-memory/blocks"): _read(),
    ("GET", "/v1/agents/{agent_id}/core-memory/blocks/{block_label}"): _read(),
    ("PATCH", "/v1/agents/{agent_id}/core-memory/blocks/{block_label}"): Route(
        "operate", body=lambda own: {"value": "changed"}
    ),
    ("PATCH", "/v1/agents/{agent_id}/core-memory/blocks/attach/{block_id}"): Route("operate"),
    ("PATCH", "/v1/agents/{agent_id}/core-memory/blocks/detach/{block_id}"): Route("operate"),
    ("GET", "/v1/blocks/"): _read("block_id"),
    ("POST", "/v1/blocks/"): Route("operate", body=lambda own: {"label": "made", "value": "here"}),
    ("GET", "/v1/blocks/count"): _read(),
    ("GET", "/v1/blocks/{block_id}"): _read(),
    ("PATCH", "/v1/blocks/{block_id}"): Route("operate", body=lambda own: {"value": "changed"}),
    ("DELETE", "/v1/blocks/{block_id}"): Route("operate"),
    ("GET", "/v1/blocks/{block_id}/agents"): _read("agent_id"),
    ("GET", "/v1/groups/"): _read("group_id"),
    ("POST", "/v1/groups/"): Route(
        "operate",
        body=lambda own: {"agent_ids": [own.agent_id]},
        foreign_bodies=lambda theirs, own: [
            {"agent_ids": [theirs.agent_id]},
            {"agent_ids": [own.agent_id, theirs.agent_id]},
            {"agent_ids": [own.agent_id], "standby": [{"agent_id": theirs.agent_id}]},
            {"agent_ids": [own.agent_id], "shared_block_ids": [theirs.block_id]},
            {"manager_config": {"manager_type": "dynamic", "manager_agent_id": theirs.agent_id}},
        ],
    ),
    ("GET", "/v1/groups/count"): _read(),
    ("GET", "/v1/groups/{group_id}"): _read(),
    ("PATCH", "/v1/groups/{group_id}"): Route(
        "operate",
        body=lambda own: {"description": "changed"},
        foreign_bodies=lambda theirs, own: [
            {"agent_ids": [own.agent_id, theirs.agent_id]},
            {"standby": [{"agent_id": theirs.agent_id}]},
            {"shared_block_ids": [theirs.block_id]},
        ],
    ),
    ("DELETE", "/v1/groups/{group_id}"): Route("operate"),
    ("PATCH", "/v1/groups/{group_id}/blocks/attach/{block_id}"): Route("operate"),
    ("PATCH", "/v1/groups/{group_id}/blocks/detach/{block_id}"): Route("operate"),
    ("POST", "/v1/groups/{group_id}/messages"): Route("post", body=lambda own: {"messages": [_MESSAGE]}),
    ("GET", "/v1/groups/{group_id}/messages"): _read("message_id"),
    ("POST", "/v1/groups/{group_id}/messages/stream"): Route("post", body=lambda own: {"messages": [_MESSAGE]}),
    ("PATCH", "/v1/groups/{group_id}/reset-messages"): Route("operate"),
    ("GET", "/v1/keys/"): Route("admin", query={"after": "key_id"}),
    ("POST", "/v1/keys/"): Route("admin", body=lambda own: {"name": "made", "scopes": ["read"]}),
    ("GET", "/v1/keys/count"): Route("admin"),
    ("GET", "/v1/keys/{key_id}"): Route("admin"),
    ("PATCH", "/v1/keys/{key_id}"): Route("admin", body=lambda own: {"name": "renamed"}),
    ("DELETE", "/v1/keys/{key_id}"): Route("admin"),
    ("GET", "/v1/conversations/"): _read("conversation_id", **_CONVERSATION_FILTERS),
    ("POST", "/v1/conversations/"): Route(
        "post",
        body=lambda own: {"group": own.group_id, "message": "Good evening."},
        foreign_bodies=lambda theirs, own: [{"group": theirs.group_id, "message": "Good evening."}],
    ),
    ("GET", "/v1/conversations/count"): _read(**_CONVERSATION_FILTERS),
    ("GET", "/v1/conversations/{conversation_id}"): _read(),
    ("DELETE", "/v1/conversations/{conversation_id}"): Route("operate"),
    ("GET", "/v1/conversations/{conversation_id}/status"): _read(),
    ("GET", "/v1/conversations/{conversation_id}/beginning"): _read(),
    ("GET", "/v1/conversations/{conversation_id}/events/cursor"): _read(),
    ("GET", "/v1/conversations/{conversation_id}/recent-turns"): _read(),
    ("GET", "/v1/conversations/{conversation_id}/messages"): _read(),
    ("GET", "/v1/conversations/{conversation_id}/turns"): _read(),
    ("GET", "/v1/conversations/{conversation_id}/members"): _read(),
    ("GET", "/v1/conversations/{conversation_id}/membership"): _read(),
    ("GET", "/v1/conversations/{conversation_id}/events"): _read(),
    ("POST", "/v1/conversations/{conversation_id}/messages"): Route("post", body=lambda own: {"text": "Good evening."}),
    ("POST", "/v1/conversations/{conversation_id}/fork"): Route(
        "operate",
        body=lambda own: {},
        foreign_bodies=lambda theirs, own: [{"agent_ids": [own.agent_id, theirs.agent_id]}],
    ),
    ("POST", "/v1/conversations/{conversation_id}/members/add"): _member_command(404),
    ("POST", "/v1/conversations/{conversation_id}/members/remove"): _member_command(),
    ("POST", "/v1/conversations/{conversation_id}/members/replace"): Route(
        "operate",
        body=lambda own: {"agent": own.agent_id, "replacement": own.agent_id},
        foreign_bodies=lambda theirs, own: [{"agent": own.agent_id, "replacement": theirs.agent_id}],
    ),
    ("POST", "/v1/conversations/{conversation_id}/members/reorder"): Route(
        "operate",
        body=lambda own: {"agents": [own.agent_id]},
        foreign_bodies=lambda theirs, own: [{"agents": [own.agent_id, theirs.agent_id]}],
        refusal_status=400,
    ),
    ("POST", "/v1/conversations/{conversation_id}/members/mute"): _member_command(),
    ("POST", "/v1/conversations/{conversation_id}/members/unmute"): _member_command(),
    ("POST", "/v1/conversations/{conversation_id}/members/reinstate"): _member_command(),
    ("PATCH", "/v1/conversations/{conversation_id}/settings"): Route("operate", body=lambda own: {"max_turns": 2}),
    ("POST", "/v1/conversations/{conversation_id}/pause"): _command(),
    ("POST", "/v1/conversations/{conversation_id}/resume"): _command(),
    ("POST", "/v1/conversations/{conversation_id}/stop"): _command(),
    ("POST", "/v1/codec/decode"): Route("operate", body=lambda own: {"payloads": []}),
    ("POST", "/v1/codec/encode"): Route("operate", body=lambda own: {"payloads": []}),
    ("GET", "/v1/codec/session"): Route(None),
    ("POST", "/v1/codec/session"): Route("operate"),
    ("DELETE", "/v1/codec/session"): Route(None),
}

"""Examples of response bodies for the OpenAPI document, by the schema of the response.

Invariant: each example is valid under its schema; a test checks this.
"""

from collections.abc import Mapping
from typing import Any

from tertulia.core.commands import PATHS

_CREATED = "2026-03-02T19:00:00.125000Z"
_UPDATED = "2026-03-02T19:05:30.250000Z"
_PERSONA = "I have worked in the library for ten years."
_QUESTION = "Shall the library open at night?"
_ANSWER = "At night we would need a second librarian. Ben, what would that cost?"
_REASON = "next in rotation"

_BLOCK = {
    "id": "block-7f0c2a34-5d1e-4c0b-9a53-2f0e6d1b8c11",
    "label": "persona",
    "value": _PERSONA,
    "description": "",
    "limit": 20_000,
    "version": 1,
    "metadata": {},
    "is_template": False,
    "created_at": _CREATED,
    "updated_at": _CREATED,
}
_MEMORY = {"blocks": [_BLOCK], "file_blocks": [], "prompt_template": ""}
_ANSWERED = {
    "id": "message-table-talk-2",
    "date": _UPDATED,
    "name": "Ana",
    "content": _ANSWER,
    "seq_id": 2,
    "conversation_id": "table-talk",
    "message_type": "assistant_message",
    "sender_id": "ana",
    "turn": 1,
}
_USAGE = {"prompt_tokens": 151, "completion_tokens": 22, "model_calls": 1}
_KEY = {
    "id": "key-b7c5958a-70c6-4411-9725-a193d02e2791",
    "organisation_id": "default",
    "name": "reports",
    "hint": "tertulia_5LME",
    "scopes": ["read"],
    "created_at": _CREATED,
    "used_at": None,
    "revoked_at": None,
}
_SETTINGS = {
    "intake": "queue",
    "model": None,
    "catch_up": "full",
    "termination": None,
    "context_messages": 40,
    "context_tokens": 16_000,
    "max_message_chars": 32_000,
    "turn_timeout_seconds": 180.0,
    "on_failure": ["fallback_model", "standby", "skip"],
    "in_flight": "finish",
    "budgets": [],
}

RESPONSE_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "Health": {"version": "1.0.0", "status": "ok"},
    "Readiness": {"status": "ready", "database": "ok", "migrations": "ok", "temporal": "ok"},
    "AgentState": {
        "id": "ana",
        "name": "Ana",
        "description": "Asks for sources.",
        "system": "You are Ana, a librarian. You ask for the source of every claim.",
        "agent_type": "react_agent",
        "llm_config": {
            "model": "gpt-4.1-mini",
            "model_endpoint_type": "openai",
            "context_window": 16_000,
            "handle": "openai/gpt-4.1-mini",
            "temperature": 0.3,
            "max_tokens": 400,
        },
        "model_settings": {"model": None, "temperature": 0.3, "max_tokens": 400, "extra": {}, "fallbacks": []},
        "memory": _MEMORY,
        "tools": [],
        "tags": ["library"],
        "metadata": {},
        "revision": 2,
        "created_at": _CREATED,
        "updated_at": _UPDATED,
    },
    "Memory": _MEMORY,
    "BlockShape": _BLOCK,
    "GroupShape": {
        "id": "table",
        "name": "The long table",
        "description": "Decides on questions about the library.",
        "manager_type": "round_robin",
        "agent_ids": ["ana", "ben"],
        "manager_agent_id": None,
        "termination_token": "DONE!",
        "max_turns": 4,
        "shared_block_ids": [],
        "shared_memory": [],
        "standby": [],
        "manager_config": {"max_turns": 4, "termination_token": "DONE!", "manager_type": "round_robin"},
        "settings": _SETTINGS,
        "metadata": {},
        "revision": 1,
        "default_conversation_id": None,
        "created_at": _CREATED,
        "updated_at": _CREATED,
    },
    "GroupAnswer": {
        "messages": [_ANSWERED],
        "stop_reason": {"message_type": "stop_reason", "stop_reason": "max_steps", "reason": "max_turns"},
        "usage": {
            "message_type": "usage_statistics",
            "completion_tokens": 22,
            "prompt_tokens": 151,
            "total_tokens": 173,
            "step_count": 1,
        },
        "conversation_id": "table-talk",
        "message_ids": ["7c1b5a0e-8d0c-4f57-9c43-0f6f3a9de001"],
    },
    "MessagesAccepted": {
        "conversation_id": "table-talk",
        "message_ids": ["7c1b5a0e-8d0c-4f57-9c43-0f6f3a9de001"],
    },
    "UserMessage": {
        "id": "message-table-talk-1",
        "date": _CREATED,
        "name": "Dora",
        "content": _QUESTION,
        "seq_id": 1,
        "conversation_id": "table-talk",
        "message_type": "user_message",
        "sender_id": None,
    },
    "AssistantMessage": _ANSWERED,
    "Conversation": {
        "id": "table-talk",
        "organisation_id": "default",
        "group_id": "table",
        "group": "The long table",
        "phase": "ready",
        "messages": 5,
        "turns": 4,
        "stop_reason": "max_turns",
        "forked_from": None,
        "forked_turn": None,
        "created_at": _CREATED,
        "closed_at": None,
    },
    "EventCursor": {"after": 12},
    "ConversationStatus": {
        "conversation_id": "table-talk",
        "group_id": "table",
        "group": "The long table",
        "phase": "ready",
        "round": 1,
        "turn": 1,
        "roster": {
            "epoch": 1,
            "members": [
                {
                    "agent_id": "ana",
                    "name": "Ana",
                    "state": "active",
                    "health": {"state": "healthy", "reason": "", "since_turn": 0, "since": None},
                    "in_place_of": None,
                    "total_tokens": 173,
                }
            ],
            "managers": [],
        },
        "last_speaker": "Ana",
        "usage": {**_USAGE, "total_tokens": 173},
        "stop_reason": "max_turns",
        "pending": {"messages": 0, "commands": 0},
        "rejected": [],
        "messages": 2,
        "seconds": 3.5,
    },
    "TurnSummary": {
        "turn": 1,
        "speaker": "Ana",
        "outcome": "spoke",
        "chosen_by": "round_robin",
        "reason": _REASON,
        "said": _ANSWER,
        "trouble": "",
    },
    "Message": {
        "seq": 2,
        "turn": 1,
        "role": "assistant",
        "sender_id": "ana",
        "sender": "Ana",
        "text": _ANSWER,
        "created_at": _UPDATED,
    },
    "FinishedTurn": {
        "turn": 1,
        "round": 1,
        "epoch": 1,
        "speaker_id": "ana",
        "speaker": "Ana",
        "chosen_by": "round_robin",
        "reason": _REASON,
        "outcome": "spoke",
        "error": None,
        "seq": 2,
        "attempt": 1,
        "model": "gpt-4.1-mini",
        "fallback": 0,
        **_USAGE,
        "started_at": _CREATED,
        "finished_at": _UPDATED,
    },
    "MemberRow": {
        "agent_id": "ana",
        "name": "Ana",
        "state": "active",
        "visible_from": 0,
        "cursor": 2,
        "turns": 1,
        **_USAGE,
    },
    "MembershipChange": {
        "epoch": 2,
        "command_id": "62627b31-162d-41e1-bc3b-880f7fc18bb0",
        "kind": "add",
        "detail": {"member": {"agent_id": "cleo", "name": "Cleo"}, "state": "active", "position": 0},
        "after_turn": 3,
        "after_seq": 4,
        "created_at": _UPDATED,
    },
    "Key": _KEY,
    "CreatedKey": {**_KEY, "key": "tertulia_5LME…"},
    "WirePayloads": {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "Ikdvb2QgZXZlbmluZy4i"}]},
}
"""Bodies by the name of their schema, for schemas whose example is the same on every route."""

_RECEIPTS: Mapping[str, tuple[str, int | None]] = {
    "post_message": ("enters the transcript at the next turn boundary", None),
    "add_member": ("at the next turn boundary: Cleo, Ana, Ben", 2),
    "remove_member": ("at the next turn boundary: Ana, Ben", 3),
    "replace_member": ("at the next turn boundary: Ana, Cleo", 4),
    "reorder_members": ("at the next turn boundary: Cleo, Ana", 5),
    "mute_member": ("at the next turn boundary: Cleo, Ana", 6),
    "unmute_member": ("at the next turn boundary: Cleo, Ana", 7),
    "reinstate_member": ("at the next turn boundary: Cleo, Ana", 8),
    "update_settings": ("the new settings apply from the next turn boundary", None),
    "pause": ("pauses at the next turn boundary", None),
    "resume": ("continues", None),
    "stop": ("closes at the next turn boundary", None),
}
"""Detail and epoch of the receipt of each command."""

_COMMAND_BY_PATH = {f"/v1/conversations/{{conversation_id}}/{path}": name for name, path in PATHS.items()}
_DELETED = {
    "/v1/agents/{agent_id}": "agent 'ana' deleted",
    "/v1/blocks/{block_id}": f"block {_BLOCK['id']!r} deleted",
    "/v1/groups/{group_id}": "group 'table' deleted",
    "/v1/conversations/{conversation_id}": "conversation 'table-talk' deleted",
}
"""Confirmation of each deletion, by path."""


def response_example(schema: Mapping[str, Any], path: str) -> Any:
    """Return an example of a response.

    Args:
        schema: the schema of the response: a reference, a list or union of references, or a count.
        path: the path of the route.
    """
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name == "Receipt":
            return _receipt(_COMMAND_BY_PATH[path])
        return {"message": _DELETED[path]} if name == "DeletedResponse" else RESPONSE_EXAMPLES[name]
    if schema.get("type") == "array":
        items = schema["items"]
        return [response_example(kind, path) for kind in items.get("oneOf", [items])]
    if "anyOf" in schema:
        return response_example(schema["anyOf"][0], path)
    assert schema["type"] == "integer", schema
    return 3


def _receipt(command: str) -> Mapping[str, Any]:
    detail, epoch = _RECEIPTS[command]
    return {
        "command_id": "62627b31-162d-41e1-bc3b-880f7fc18bb0",
        "command": command,
        "detail": detail,
        "epoch": epoch,
    }

"""Examples of request bodies and path parameters for the OpenAPI document.

Invariant: sent in the order of the document by a new organisation, no body is refused, except that a healthy member
cannot be reinstated. A test sends them all.
"""

from collections.abc import Mapping
from typing import Any

Body = Mapping[str, Any]

_QUESTION = "Shall the library open at night?"
_BLOCKS = "/v1/agents/{agent_id}/core-memory/blocks"
_CONVERSATION = "/v1/conversations/{conversation_id}"
_PAYLOADS: Body = {
    # Base64 of `json/plain` and of `"Good evening."`.
    "payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "Ikdvb2QgZXZlbmluZy4i"}]
}

REQUEST_EXAMPLES: Mapping[tuple[str, str], Mapping[str, Body]] = {
    ("post", "/v1/agents/"): {
        "Ana, with a memory block": {
            "id": "ana",
            "name": "Ana",
            "description": "Asks for sources.",
            "system": "You are Ana, a librarian. You ask for the source of every claim.",
            "memory_blocks": [{"label": "persona", "value": "I have worked in the library for ten years."}],
            "tags": ["library"],
        },
        "Ben, with model parameters": {
            "id": "ben",
            "name": "Ben",
            "description": "Counts the costs.",
            "system": "You are Ben, a treasurer. You count what everything costs.",
            "model_settings": {"temperature": 0.3, "max_tokens": 400},
        },
        "Cleo": {"id": "cleo", "name": "Cleo", "system": "You are Cleo, a student who reads at night."},
    },
    ("patch", "/v1/agents/{agent_id}"): {
        "New description": {
            "description": "Asks for sources and keeps the catalogue.",
            "tags": ["library", "catalogue"],
        }
    },
    ("patch", f"{_BLOCKS}/{{block_label}}"): {"Append a line": {"append": "\nI keep the keys."}},
    ("post", "/v1/blocks/"): {
        "A block with a limit": {
            "label": "opening_hours",
            "value": "Monday to Friday, 9 to 18 h.",
            "description": "Opening hours of the library",
            "limit": 500,
        }
    },
    ("patch", "/v1/blocks/{block_id}"): {
        "New value": {"value": "Monday to Saturday, 9 to 18 h."},
        "Append a line": {"append": "\nClosed on holidays."},
    },
    ("post", "/v1/groups/"): {
        "Members in turn": {
            "id": "table",
            "name": "The long table",
            "description": "Decides on questions about the library.",
            "agent_ids": ["ana", "ben"],
            "manager_config": {"manager_type": "round_robin", "max_turns": 4},
        },
        "Managed by an agent": {
            "id": "panel",
            "name": "The panel",
            "agent_ids": ["ana", "ben"],
            "manager_config": {"manager_type": "dynamic", "manager_agent_id": "cleo", "max_turns": 6},
        },
    },
    ("patch", "/v1/groups/{group_id}"): {
        "New settings": {"settings": {"intake": "queue", "catch_up": "last:20"}},
        "New members": {"agent_ids": ["ben", "ana"]},
    },
    ("post", "/v1/groups/{group_id}/messages"): {
        "Wait for the answer": {"messages": [{"role": "user", "content": _QUESTION}]},
        "In the background": {"messages": [{"role": "user", "content": _QUESTION, "name": "Dora"}], "background": True},
    },
    ("post", "/v1/groups/{group_id}/messages/stream"): {
        "A question": {"messages": [{"role": "user", "content": "And on Sundays?"}]}
    },
    ("post", "/v1/conversations/"): {
        "With an id of your choice": {"id": "table-talk", "group": "table", "message": _QUESTION, "sender": "Dora"},
        "Closed after one round": {"group": "The long table", "message": _QUESTION, "close_after_round": True},
    },
    ("post", f"{_CONVERSATION}/fork"): {
        "With other members": {"agent_ids": ["ana", "cleo"], "message": "Cleo, would you come at night?"}
    },
    ("post", f"{_CONVERSATION}/messages"): {
        "A message": {"text": "Who keeps the keys?", "sender": "Dora"},
        "With an idempotency key": {"text": "Who keeps the keys?", "command_id": "keys-1"},
    },
    ("post", f"{_CONVERSATION}/members/add"): {
        "By name, as the first": {"agent": "Cleo", "position": 0, "catch_up": "last:10"}
    },
    ("post", f"{_CONVERSATION}/members/remove"): {"By id": {"agent": "cleo", "in_flight": "finish"}},
    ("post", f"{_CONVERSATION}/members/replace"): {"By id": {"agent": "ben", "replacement": "cleo"}},
    ("post", f"{_CONVERSATION}/members/reorder"): {"By id": {"agents": ["cleo", "ana"]}},
    ("post", f"{_CONVERSATION}/members/mute"): {"By id": {"agent": "ana"}},
    ("post", f"{_CONVERSATION}/members/unmute"): {"By id": {"agent": "ana"}},
    ("post", f"{_CONVERSATION}/members/reinstate"): {"By id": {"agent": "ana"}},
    ("patch", f"{_CONVERSATION}/settings"): {"Shorter rounds": {"max_turns": 2, "in_flight": "discard"}},
    ("post", f"{_CONVERSATION}/pause"): {"With a reason": {"reason": "Waiting for the figures"}},
    ("post", f"{_CONVERSATION}/resume"): {"Resume": {}},
    ("post", f"{_CONVERSATION}/stop"): {"With a reason": {"reason": "The question is settled"}},
    ("post", "/v1/keys/"): {"A key that can only read": {"name": "reports", "scopes": ["read"]}},
    ("patch", "/v1/keys/{key_id}"): {"New name": {"name": "monthly reports"}},
    ("post", "/v1/codec/decode"): {"A payload that is not encrypted": _PAYLOADS},
    ("post", "/v1/codec/encode"): {"A payload": _PAYLOADS},
}
"""Bodies by title, for each method and path."""

PATH_PARAMETERS: Mapping[str, tuple[str, str | None]] = {
    "agent_id": ("Id of the agent.", "ana"),
    "block_id": ("Id of the block, as in the response to its creation.", None),
    "block_label": ("Label of the block.", "persona"),
    "group_id": ("Id of the group.", "table"),
    "conversation_id": ("Id of the conversation.", "table-talk"),
    "key_id": ("Id of the key, as in the response to its creation.", None),
}
"""Description and example of each path parameter. Ids of blocks and keys are generated, so they have no example."""

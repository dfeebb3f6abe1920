"""Group conversations between AI agents as durable Temporal workflows.

The public API. Invariant: names load on first use, because this module runs again in every workflow sandbox.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia
    from tertulia.client.conversation import Conversation
    from tertulia.client.manifest import ApplyResult, Manifest, read_manifest
    from tertulia.client.operator import Operator
    from tertulia.configuration import Configuration
    from tertulia.core.agents import ModelSettings, StoredAgent
    from tertulia.core.blocks import Block
    from tertulia.core.commands import Receipt
    from tertulia.core.errors import (
        ApiUnavailable,
        CommandRefused,
        ConfigurationError,
        Conflict,
        ConversationClosed,
        EventsUnavailable,
        Forbidden,
        IdTaken,
        InvalidDefinition,
        NotFound,
        PayloadUnreadable,
        PendingLimitExceeded,
        TertuliaError,
        Unauthorized,
        Unavailable,
        WrongAddress,
    )
    from tertulia.core.group import DynamicConfig, GroupSettings, ManagerConfig, RoundRobinConfig, Standby, StoredGroup
    from tertulia.core.keys import CreatedKey
    from tertulia.core.organisations import Organisation
    from tertulia.core.records import (
        ConversationEvent,
        ConversationRow,
        FinishedTurn,
        Interrupted,
        KeyRow,
        LiveDelta,
        MemberRow,
        MembershipChange,
        Message,
        StatusAt,
        StreamEvent,
    )
    from tertulia.core.state import TurnSummary
    from tertulia.core.status import ConversationStatus

__version__ = "0.1.0"

_MODULES = {
    "Tertulia": "client.client",
    "Operator": "client.operator",
    "Conversation": "client.conversation",
    "Manifest": "client.manifest",
    "ApplyResult": "client.manifest",
    "read_manifest": "client.manifest",
    "Configuration": "configuration",
    "ModelSettings": "core.agents",
    "StoredAgent": "core.agents",
    "Block": "core.blocks",
    "Receipt": "core.commands",
    "ApiUnavailable": "core.errors",
    "CommandRefused": "core.errors",
    "ConfigurationError": "core.errors",
    "Conflict": "core.errors",
    "ConversationClosed": "core.errors",
    "EventsUnavailable": "core.errors",
    "Forbidden": "core.errors",
    "IdTaken": "core.errors",
    "InvalidDefinition": "core.errors",
    "NotFound": "core.errors",
    "PayloadUnreadable": "core.errors",
    "PendingLimitExceeded": "core.errors",
    "TertuliaError": "core.errors",
    "Unauthorized": "core.errors",
    "Unavailable": "core.errors",
    "WrongAddress": "core.errors",
    "DynamicConfig": "core.group",
    "GroupSettings": "core.group",
    "RoundRobinConfig": "core.group",
    "StoredGroup": "core.group",
    "CreatedKey": "core.keys",
    "ConversationEvent": "core.records",
    "ConversationRow": "core.records",
    "FinishedTurn": "core.records",
    "Interrupted": "core.records",
    "KeyRow": "core.records",
    "LiveDelta": "core.records",
    "MemberRow": "core.records",
    "MembershipChange": "core.records",
    "Message": "core.records",
    "StatusAt": "core.records",
    "StreamEvent": "core.records",
    "Organisation": "core.organisations",
    "TurnSummary": "core.state",
    "ManagerConfig": "core.group",
    "Standby": "core.group",
    "ConversationStatus": "core.status",
}
"""The module of each public name, below `tertulia`."""

__all__ = [
    "ApiUnavailable",
    "ApplyResult",
    "Block",
    "CommandRefused",
    "Configuration",
    "ConfigurationError",
    "Conflict",
    "Conversation",
    "ConversationClosed",
    "ConversationEvent",
    "ConversationRow",
    "ConversationStatus",
    "CreatedKey",
    "DynamicConfig",
    "EventsUnavailable",
    "FinishedTurn",
    "Forbidden",
    "GroupSettings",
    "IdTaken",
    "Interrupted",
    "InvalidDefinition",
    "KeyRow",
    "LiveDelta",
    "ManagerConfig",
    "Manifest",
    "MemberRow",
    "MembershipChange",
    "Message",
    "ModelSettings",
    "NotFound",
    "Operator",
    "Organisation",
    "PayloadUnreadable",
    "PendingLimitExceeded",
    "Receipt",
    "RoundRobinConfig",
    "Standby",
    "StatusAt",
    "StoredAgent",
    "StoredGroup",
    "StreamEvent",
    "Tertulia",
    "TertuliaError",
    "TurnSummary",
    "Unauthorized",
    "Unavailable",
    "WrongAddress",
    "__version__",
    "read_manifest",
]

if not os.path.isdir(os.path.join(os.path.dirname(__file__), "workflows")):
    raise ImportError(
        "tertulia/workflows is not a directory: git checked out symbolic links as text."
        " Run `git config core.symlinks true && git checkout -- tertulia`"
    )


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'tertulia' has no attribute {name!r}")
    return getattr(import_module(f"tertulia.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

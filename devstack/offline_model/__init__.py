"""The offline model: an OpenAI-compatible server that stands in when no provider is configured. It is deterministic."""

from devstack.offline_model.answers import TERSE_MODEL
from devstack.offline_model.control import OfflineModelControl
from devstack.offline_model.faults import Behaviour, Fault, FaultKind, Match
from devstack.offline_model.hosting import OfflineModel, serving
from devstack.offline_model.ledger import Calls

__all__ = [
    "TERSE_MODEL",
    "Behaviour",
    "Calls",
    "Fault",
    "FaultKind",
    "Match",
    "OfflineModel",
    "OfflineModelControl",
    "serving",
]

"""The offline model: an OpenAI-compatible server that stands in when no provider is configured. It is deterministic."""

from tertulia.devstack.offline_model.answers import TERSE_MODEL
from tertulia.devstack.offline_model.call_log import Calls
from tertulia.devstack.offline_model.control import OfflineModelControl
from tertulia.devstack.offline_model.faults import Behaviour, Fault, FaultKind, Match
from tertulia.devstack.offline_model.serve import OfflineModel, serving

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

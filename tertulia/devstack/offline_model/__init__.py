"""The offline model: a deterministic OpenAI-compatible server for use without a provider."""

from tertulia.devstack.offline_model.answers import TERSE_MODEL
from tertulia.devstack.offline_model.call_log import CallCounts
from tertulia.devstack.offline_model.control import OfflineModelControl
from tertulia.devstack.offline_model.faults import Behaviour, Fault, FaultKind, Match
from tertulia.devstack.offline_model.serve import OfflineModel, open_offline_model

__all__ = [
    "TERSE_MODEL",
    "Behaviour",
    "CallCounts",
    "Fault",
    "FaultKind",
    "Match",
    "OfflineModel",
    "OfflineModelControl",
    "open_offline_model",
]

"""Test helpers for this project and its users: an embedded stack, the scripted model, a harness for conversations.

They need the extra `embedded`. Tertulia's own tests use them.
"""

from tertulia.devstack.environment import isolated_environment
from tertulia.devstack.offline_model import Fault, Match, OfflineModelControl
from tertulia.testing.client import DirectClient
from tertulia.testing.polling import eventually
from tertulia.testing.stack import open_stack
from tertulia.testing.workflow_harness import WorkflowHarness, open_workflow_harness

__all__ = [
    "DirectClient",
    "Fault",
    "Match",
    "OfflineModelControl",
    "WorkflowHarness",
    "eventually",
    "isolated_environment",
    "open_stack",
    "open_workflow_harness",
]

"""One plugin gives client, worker and replay the same data converter and the same sandbox."""

from collections.abc import Mapping

from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from tertulia.temporal.encryption import data_converter
from tertulia.workflows.conversation import GroupConversation
from tertulia.workflows.group_change import GroupChange
from tertulia.workflows.update_ordering import UpdatesLast

_PASSTHROUGH_MODULES = (
    "tertulia.core",  # no I/O, no clock, no randomness, no state: loading it once a run would only cost time
    "tertulia.temporal.names",  # constants alone
    "tertulia.temporal.summaries",  # pure functions
    "tertulia.workflows.ui_details",  # pure functions of the state
    "tertulia.workflows.activity_calls",  # holds no state; activities are started through the SDK
    "tertulia.workflows.carry_out",
    "tertulia.workflows.turns",
    "tertulia.workflows.handlers",  # holds no state of its own: each conversation has its instance
    "pydantic",  # its classes carry compiled validators, which must be one and the same inside and outside
)


WORKFLOWS: tuple[type, ...] = (GroupConversation, GroupChange)


def build_workflow_runner() -> WorkflowRunner:
    """Return the sandbox in which the workflows run, with the ordering of updates that replay depends on."""
    return UpdatesLast(
        SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_modules(*_PASSTHROUGH_MODULES)
        )
    )


class TertuliaPlugin(SimplePlugin):
    """What everything that speaks to Temporal for this project has in common.

    Args:
        encryption_keys: as `Configuration.encryption_keys`; without any, nothing is encrypted.
    """

    def __init__(self, encryption_keys: Mapping[str, bytes] | None = None) -> None:
        super().__init__(
            "tertulia",
            data_converter=data_converter(encryption_keys or {}),
            workflows=list(WORKFLOWS),
            workflow_runner=lambda existing: build_workflow_runner(),
        )

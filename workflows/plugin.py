"""The plugin of workers and replayers: the workflows, and the sandbox in which they run.

Invariant: worker and replay run the workflows in the same sandbox, with updates in the same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from tertulia.temporal.plugin import TertuliaClientPlugin
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


def build_workflow_runner(existing: WorkflowRunner | None = None) -> WorkflowRunner:
    """Return a sandbox that passes Tertulia's pure modules through and delivers updates last.

    Args:
        existing: the runner to extend; its own restrictions stay. None = Temporal's default sandbox.
    """
    if isinstance(existing, UpdatesLast):
        return existing
    runner = existing or SandboxedWorkflowRunner()
    if isinstance(runner, SandboxedWorkflowRunner):
        restrictions = runner.restrictions.with_passthrough_modules(*_PASSTHROUGH_MODULES)
        runner = replace(runner, restrictions=restrictions)
    return UpdatesLast(runner)


class TertuliaPlugin(TertuliaClientPlugin):
    """Add Tertulia's workflows and their sandbox to a worker or replayer; includes the client's plugin.

    On a client, every worker of that client gets the workflows. A client whose workers are not Tertulia's takes
    `TertuliaClientPlugin` instead.

    Args:
        encryption_keys: `Configuration.encryption_keys`. Without keys nothing is encrypted.

    Raises:
        ConfigurationError: by `Client.connect`, `Worker` or `Replayer`, if there is another data converter.
    """

    def __init__(self, encryption_keys: Mapping[str, bytes] | None = None) -> None:
        super().__init__(encryption_keys, name="tertulia")
        self.workflows = _add_workflows
        self.workflow_runner = build_workflow_runner


def _add_workflows(existing: Sequence[type] | None) -> Sequence[type]:
    # A worker of `build_workers` has them already, and a worker refuses to register one twice.
    return [*(existing or ()), *(added for added in WORKFLOWS if added not in (existing or ()))]

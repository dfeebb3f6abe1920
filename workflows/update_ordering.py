"""Deliver updates to a workflow after the other events of the same activation.

Invariant: the workflow's commands do not depend on how events are grouped into activations. A worker that answers a
query can receive an activity's result before an update, while replay receives both in one activation. The SDK would
run the update first then, and the history could never be replayed.
"""

from collections.abc import Callable, Sequence

from temporalio import workflow
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

_NO_STORE = StorageDriverStoreContext()
Activate = Callable[[WorkflowActivation], WorkflowActivationCompletion]

_CLOSING_COMMANDS = frozenset(
    {
        "complete_workflow_execution",
        "fail_workflow_execution",
        "cancel_workflow_execution",
        "continue_as_new_workflow_execution",
    }
)


class UpdatesLast(WorkflowRunner):
    """A workflow runner that delivers updates last.

    Args:
        inner: the runner that runs the workflows.
    """

    def __init__(self, inner: WorkflowRunner) -> None:
        self._inner = inner

    def prepare_workflow(self, defn: workflow._Definition) -> None:
        """Call the inner runner."""
        self._inner.prepare_workflow(defn)

    def set_worker_level_failure_exception_types(self, types: Sequence[type[BaseException]]) -> None:
        """Call the inner runner."""
        self._inner.set_worker_level_failure_exception_types(types)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Create an instance with the inner runner, and order its activations."""
        instance = self._inner.create_instance(det)
        activate = instance.activate
        instance.activate = lambda act: activate_in_order(activate, act)  # type: ignore[method-assign]
        # The SDK computes a serialization context for each payload in the sandbox, a fifth of a turn's CPU time. Our
        # data converter uses none.
        instance.get_serialization_context = lambda command_info: None  # type: ignore[method-assign]
        instance.get_external_store_context = lambda command_info: _NO_STORE  # type: ignore[method-assign]
        return instance


def activate_in_order(activate: Activate, act: WorkflowActivation) -> WorkflowActivationCompletion:
    """Activate a workflow, with updates in a second activation, and return the combined completion.

    Updates that arrive together with the end of the run are not delivered: the server then reports the end to their
    senders, or forwards them to the next run.
    """
    updates = [job for job in act.jobs if job.HasField("do_update")]
    others = [job for job in act.jobs if not job.HasField("do_update")]
    if not updates or not others:
        return activate(act)
    completion = activate(_with_jobs(act, others))
    if not completion.HasField("successful") or _has_ended(completion):
        return completion
    updates_completion = activate(_with_jobs(act, updates))
    if updates_completion.HasField("successful"):
        flags = {*completion.successful.used_internal_flags, *updates_completion.successful.used_internal_flags}
        commands = [*completion.successful.commands, *updates_completion.successful.commands]
        del updates_completion.successful.commands[:], updates_completion.successful.used_internal_flags[:]
        updates_completion.successful.commands.extend(commands)
        updates_completion.successful.used_internal_flags.extend(sorted(flags))
    return updates_completion


def _with_jobs(act: WorkflowActivation, jobs: Sequence[WorkflowActivationJob]) -> WorkflowActivation:
    part = WorkflowActivation()
    part.CopyFrom(act)
    del part.jobs[:]
    part.jobs.extend(jobs)
    return part


def _has_ended(completion: WorkflowActivationCompletion) -> bool:
    return any(command.WhichOneof("variant") in _CLOSING_COMMANDS for command in completion.successful.commands)

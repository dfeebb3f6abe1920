"""In which order a workflow hears of what has happened: updates after everything else that came with them.

Law: what is done does not depend on how happenings are bundled. A worker that is asked something (a query) may hear of
an activity's end before the workflow task that tells of it, and of an update with that task; one who replays hears of
both at once. The SDK would run the update first then, and the history would not fit any more, for ever.
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
    """A runner whose workflows hear of updates last.

    Args:
        inner: runs the workflows.
    """

    def __init__(self, inner: WorkflowRunner) -> None:
        self._inner = inner

    def prepare_workflow(self, defn: workflow._Definition) -> None:
        """As the inner runner does."""
        self._inner.prepare_workflow(defn)

    def set_worker_level_failure_exception_types(self, types: Sequence[type[BaseException]]) -> None:
        """As the inner runner does."""
        self._inner.set_worker_level_failure_exception_types(types)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """A workflow of the inner runner, whose activations are put in order."""
        instance = self._inner.create_instance(det)
        activate = instance.activate
        instance.activate = lambda act: activate_in_order(activate, act)  # type: ignore[method-assign]
        # The SDK asks for each payload in which context it stands, each time in the sandbox: a fifth of a turn's CPU.
        # No converter of this project wants to know.
        instance.get_serialization_context = lambda command_info: None  # type: ignore[method-assign]
        instance.get_external_store_context = lambda command_info: _NO_STORE  # type: ignore[method-assign]
        return instance


def activate_in_order(activate: Activate, act: WorkflowActivation) -> WorkflowActivationCompletion:
    """What came of an activation whose updates are told in one of their own, after the rest.

    Those that come with the workflow's end are not told: their senders hear that it has ended, or are sent on to the
    run that follows.
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

"""How activities are called: on which queue, with which limits, and with a line for those who read the Temporal UI."""

from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError

with workflow.unsafe.imports_passed_through():
    from tertulia.core.activity_contracts import ActivityName
    from tertulia.core.state import ConversationState
    from tertulia.temporal.names import model_task_queue
    from tertulia.temporal.summaries import summary

_Result = TypeVar("_Result")

_DATABASE_TIMEOUT = timedelta(seconds=30)
_HEARTBEAT_TIMEOUT = timedelta(seconds=2)
"""Short, for a false alarm costs no model call: what is written twice is written once."""
_DATABASE_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
)
_MODEL_RETRY_MAX_INTERVAL = timedelta(seconds=60)
_ACTIVITY_GRACE = timedelta(seconds=30)
"""What an activity has beyond its model calls, to read and to commit."""


async def call_database(name: ActivityName, argument: Any, result: type[_Result], line: str) -> _Result:
    """The result of an activity that reads or writes, on the workflow's own queue."""
    value: _Result = await workflow.execute_activity(
        name,
        argument,
        result_type=result,
        start_to_close_timeout=_DATABASE_TIMEOUT,
        heartbeat_timeout=_HEARTBEAT_TIMEOUT,
        retry_policy=_DATABASE_RETRY,
        summary=summary(line),
    )
    return value


def call_model(
    state: ConversationState, name: ActivityName, argument: Any, result: type[_Result], line: str, calls: int = 1
) -> workflow.ActivityHandle[_Result]:
    """A running activity that asks a model up to `calls` times, on the queue that all groups share."""
    settings = state.settings
    handle: workflow.ActivityHandle[_Result] = workflow.start_activity(
        name,
        argument,
        result_type=result,
        task_queue=model_task_queue(workflow.info().task_queue),
        start_to_close_timeout=timedelta(seconds=settings.turn_timeout_seconds * calls) + _ACTIVITY_GRACE,
        heartbeat_timeout=timedelta(seconds=settings.heartbeat_timeout_seconds),
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=settings.retry_initial_seconds),
            backoff_coefficient=2,
            maximum_interval=_MODEL_RETRY_MAX_INTERVAL,
        ),
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        priority=Priority(fairness_key=state.group_id),
        summary=summary(line),
    )
    return handle


def describe_cause(error: ActivityError) -> str:
    """Why an activity failed, for a reader."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return cause.message
    if isinstance(cause, TimeoutError):
        return f"no sign of life in time ({cause.type.name if cause.type is not None else 'timeout'})"
    return str(cause or error)

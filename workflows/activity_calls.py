"""Start activities with their task queue, timeouts, retry policy and a summary for the Temporal UI."""

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
"""Short: database activities are idempotent and cheap, so a false alarm costs nothing."""
_DATABASE_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
)
_MODEL_RETRY_MAX_INTERVAL = timedelta(seconds=60)
_ACTIVITY_GRACE = timedelta(seconds=30)
"""Time of a model activity for reading and committing, beyond its model calls."""


async def call_database(name: ActivityName, argument: Any, result: type[_Result], line: str) -> _Result:
    """Execute a database activity on the workflow's task queue.

    Args:
        name: the activity.
        argument: its input.
        result: the type of its result.
        line: summary for the Temporal UI; not part of the command, so it may change between releases.

    Raises:
        ActivityError: the activity failed with a non-retryable error. Other errors are retried without limit.
    """
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
    """Start an activity that calls a model up to `calls` times, on the task queue that all groups share.

    Args:
        state: names the timeouts; its group is the fairness key, so that one group cannot delay the others.
        name: the activity.
        argument: its input.
        result: the type of its result.
        line: summary for the Temporal UI.
        calls: model calls within one attempt; the attempt's timeout is that of a turn times `calls`.
    """
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
        # The next decision needs the committed turn: a cancelled attempt may just have committed it.
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        priority=Priority(fairness_key=state.group_id),
        summary=summary(line),
    )
    return handle


def describe_cause(error: ActivityError) -> str:
    """Return the reason of an activity's failure, for people."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return cause.message
    if isinstance(cause, TimeoutError):
        return f"the worker did not report in time ({cause.type.name if cause.type is not None else 'timeout'})"
    return str(cause or error)

"""A change of a group: written in one transaction, then told to every conversation that runs.

Law: what is written is told. A crash between the two loses nothing, for this workflow goes on where it was.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from tertulia.core.activity_contracts import (
        ActivityName,
        GroupChangeInput,
        GroupChangeResult,
        NotifyConversationsInput,
        NotifyConversationsResult,
    )
    from tertulia.core.errors import ErrorType
    from tertulia.core.ids import ConversationId
    from tertulia.workflows.activity_calls import call_database

_PAGE_SIZE = 100
_INITIAL_RETRY_DELAY = timedelta(seconds=5)
_MAX_RETRY_DELAY = timedelta(minutes=5)


@workflow.defn(name="GroupChange")
class GroupChange:
    """Makes one change. The update `written` answers once it is written; the workflow ends once it is told."""

    @workflow.init
    def __init__(self, change: GroupChangeInput) -> None:
        self._written: GroupChangeResult | None = None
        self._refusal: ApplicationError | None = None

    @workflow.run
    async def run(self, change: GroupChangeInput) -> GroupChangeResult:
        """Write, and tell."""
        try:
            written = await call_database(ActivityName.WRITE_CHANGE, change, GroupChangeResult, change.describe())
        except ActivityError as error:
            self._refusal = _refusal(error)
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise self._refusal from None
        self._written = written
        for group in written.groups:
            await self._notify(
                NotifyConversationsInput(organisation_id=change.organisation_id, group=group, closes=written.closes)
            )
        if written.removed_agent_id is not None:
            await self._notify(
                NotifyConversationsInput(
                    organisation_id=change.organisation_id, removed_agent_id=written.removed_agent_id
                )
            )
        await workflow.wait_condition(workflow.all_handlers_finished)
        return written

    async def _notify(self, request: NotifyConversationsInput) -> None:
        """Page by page; then, with growing pauses, those that did not answer."""
        unanswered: list[ConversationId] = []
        while True:
            result = await self._notify_page(request)
            unanswered += result.unanswered
            if result.last is None:
                break
            request = request.model_copy(update={"after": result.last})
        delay = _INITIAL_RETRY_DELAY
        while unanswered:
            await workflow.sleep(delay, summary=f"{len(unanswered)} conversations do not answer")
            delay = min(2 * delay, _MAX_RETRY_DELAY)
            pages = [tuple(unanswered[at : at + _PAGE_SIZE]) for at in range(0, len(unanswered), _PAGE_SIZE)]
            unanswered = []
            for page in pages:
                notified = await self._notify_page(request.model_copy(update={"conversation_ids": page}))
                unanswered += notified.unanswered

    async def _notify_page(self, request: NotifyConversationsInput) -> NotifyConversationsResult:
        line = f"tell the conversations of {request.group.group_id if request.group else request.removed_agent_id}"
        return await call_database(ActivityName.NOTIFY_CONVERSATIONS, request, NotifyConversationsResult, line)

    @workflow.update(description="Answers with what was written, as soon as it is.")
    async def written(self) -> GroupChangeResult:
        await workflow.wait_condition(lambda: self._written is not None or self._refusal is not None)
        if self._refusal is not None:
            raise self._refusal
        assert self._written is not None
        return self._written


def _refusal(error: ActivityError) -> ApplicationError:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return ApplicationError(cause.message, type=cause.type, non_retryable=True)
    return ApplicationError(str(error), type=ErrorType.DATABASE_UNAVAILABLE, non_retryable=True)

"""The workflow of a group change: write it in one transaction, then notify every running conversation.

Invariant: a written change reaches every conversation. After a crash in between, the workflow continues.
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
    from tertulia.temporal.names import GROUP_CHANGE, GROUP_CHANGE_STORED
    from tertulia.workflows.activity_calls import call_database

_PAGE_SIZE = 100
_INITIAL_RETRY_DELAY = timedelta(seconds=5)
_MAX_RETRY_DELAY = timedelta(minutes=5)


@workflow.defn(name=GROUP_CHANGE)
class GroupChange:
    """Make one change. The update `written` returns once it is stored; the workflow ends after all notifications."""

    @workflow.init
    def __init__(self, change: GroupChangeInput) -> None:
        self._stored: GroupChangeResult | None = None
        self._refusal: ApplicationError | None = None

    @workflow.run
    async def run(self, change: GroupChangeInput) -> GroupChangeResult:
        """Write the change and notify the conversations.

        Raises:
            ApplicationError: the change was refused.
        """
        try:
            stored = await call_database(ActivityName.WRITE_CHANGE, change, GroupChangeResult, change.describe())
        except ActivityError as error:
            self._refusal = _refusal(error)
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise self._refusal from None
        self._stored = stored
        for group in stored.groups:
            await self._notify(
                NotifyConversationsInput(organisation_id=change.organisation_id, group=group, closes=stored.closes)
            )
        if stored.removed_agent_id is not None:
            await self._notify(
                NotifyConversationsInput(
                    organisation_id=change.organisation_id, removed_agent_id=stored.removed_agent_id
                )
            )
        await workflow.wait_condition(workflow.all_handlers_finished)
        return stored

    async def _notify(self, request: NotifyConversationsInput) -> None:
        """Notify page by page; then repeat, with growing delays, for conversations that did not answer."""
        unanswered: list[ConversationId] = []
        while True:
            result = await self._notify_page(request)
            unanswered += result.unanswered
            if result.last is None:
                break
            request = request.model_copy(update={"after": result.last})
        delay = _INITIAL_RETRY_DELAY
        while unanswered:
            await workflow.sleep(delay, summary=f"{len(unanswered)} conversations did not answer; try again")
            delay = min(2 * delay, _MAX_RETRY_DELAY)
            pages = [tuple(unanswered[at : at + _PAGE_SIZE]) for at in range(0, len(unanswered), _PAGE_SIZE)]
            unanswered = []
            for page in pages:
                notified = await self._notify_page(request.model_copy(update={"conversation_ids": page}))
                unanswered += notified.unanswered

    async def _notify_page(self, request: NotifyConversationsInput) -> NotifyConversationsResult:
        line = f"notify the conversations of {request.group.group_id if request.group else request.removed_agent_id}"
        return await call_database(ActivityName.NOTIFY_CONVERSATIONS, request, NotifyConversationsResult, line)

    @workflow.update(name=GROUP_CHANGE_STORED, description="Return the change as soon as it is stored.")
    async def wait_until_stored(self) -> GroupChangeResult:
        await workflow.wait_condition(lambda: self._stored is not None or self._refusal is not None)
        if self._refusal is not None:
            raise self._refusal
        assert self._stored is not None
        return self._stored


def _refusal(error: ActivityError) -> ApplicationError:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return ApplicationError(cause.message, type=cause.type, non_retryable=True)
    return ApplicationError(str(error), type=ErrorType.DATABASE_UNAVAILABLE, non_retryable=True)

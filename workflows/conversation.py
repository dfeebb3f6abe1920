"""The workflow of one group conversation.

Invariant: it loops over decide, execute and apply. `tertulia.core` decides what happens next; this module executes it.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from tertulia.core.decisions import Decision, Finish, TakeTurn, WaitForInput
    from tertulia.core.events import AnyEvent, ProbeDue
    from tertulia.core.group_sync import record_group_revision
    from tertulia.core.ids import ConversationId
    from tertulia.core.pending_changes import in_flight_policy
    from tertulia.core.state import ConversationState, TurnSummary
    from tertulia.core.state_machine import apply, cancel, decide, start_decision
    from tertulia.core.status import ConversationStatus, RosterStatus, build_roster_status, build_status
    from tertulia.temporal.names import GROUP_CONVERSATION, RECENT_TURNS, ROSTER, SET_GROUP_REVISION, STATUS
    from tertulia.workflows.carry_out import execute
    from tertulia.workflows.handlers import CommandHandlers, signal_handler, update_handler
    from tertulia.workflows.turns import take_turn
    from tertulia.workflows.ui_details import build_search_attributes, diff_search_attributes, render_details


MAX_HISTORY_EVENTS = 600
"""Events of one run's history, about 100 turns. A worker that takes over a conversation replays its history at 0.6 ms
per event; with longer histories, the replays after a restart would exceed the workflow task timeout."""


@workflow.defn(name=GROUP_CONVERSATION)
class GroupConversation(CommandHandlers):
    """A durable group conversation. The workflow id is the conversation's id; the argument is its whole state."""

    @workflow.init
    def __init__(self, state: ConversationState) -> None:
        conversation_id = ConversationId(workflow.info().workflow_id)
        super().__init__(state.model_copy(update={"conversation_id": conversation_id}))
        self._turns_before_run = state.floor.turn

    @workflow.run
    async def run(self, state: ConversationState) -> ConversationStatus:
        """Run until the conversation is closed, and return its final status."""
        while not isinstance(decision := decide(self.state), Finish):
            try:
                await self._execute_decision(decision)
            except (asyncio.CancelledError, Exception) as error:
                if not is_cancelled_exception(error):
                    raise
                self.state = cancel(self.state)
            if self._should_continue_as_new():
                await self._continue_as_new()
        self._update_ui()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return build_status(self.state)

    async def _execute_decision(self, decision: Decision) -> None:
        self.state = start_decision(self.state, decision)
        self._update_ui()
        event = await self._execute(decision)
        if event:
            # Applied to the current state: handlers may have changed it while the decision was executed.
            self.state = apply(self.state, event)

    async def _execute(self, decision: Decision) -> AnyEvent | None:
        if isinstance(decision, WaitForInput):
            return await self._wait_for_input(decision)
        if isinstance(decision, TakeTurn):
            return await take_turn(self.state, decision, lambda: in_flight_policy(self.state))
        return await execute(self.state, decision)

    async def _wait_for_input(self, decision: WaitForInput) -> ProbeDue | None:
        """Wait for a command, or until an isolated member has to be tried again."""

        def has_work() -> bool:
            return decide(self.state) != decision or self._should_continue_as_new()

        if decision.until is None:
            await workflow.wait_condition(has_work)
            return None
        delay = max(decision.until - workflow.now(), timedelta())
        try:
            await workflow.wait_condition(has_work, timeout=delay, timeout_summary="no member can speak; try one again")
        except TimeoutError:
            return ProbeDue(at=workflow.now())
        return None

    def _should_continue_as_new(self) -> bool:
        limit = self.state.continue_as_new_after_turns
        if limit is not None and self.state.floor.turn - self._turns_before_run >= limit:
            return True
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.get_current_history_length() >= MAX_HISTORY_EVENTS

    async def _continue_as_new(self) -> None:
        # An update that waits for an activity would be lost with this run: refuse new ones, finish the old ones.
        self.is_draining = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(self.state)

    def _update_ui(self) -> None:
        workflow.set_current_details(render_details(self.state))
        updates = diff_search_attributes(workflow.info().typed_search_attributes, build_search_attributes(self.state))
        if updates:
            workflow.upsert_search_attributes(updates)

    @workflow.query(name=STATUS, description="Phase, roster, usage, pending commands and refused signals.")
    def status(self) -> ConversationStatus:
        return build_status(self.state)

    @workflow.query(name=ROSTER, description="The members, in order.")
    def roster(self) -> RosterStatus:
        return build_roster_status(self.state)

    @workflow.query(
        name=RECENT_TURNS, description="The last turns: speaker, reason of the choice, preview of the message."
    )
    def recent_turns(self) -> list[TurnSummary]:
        return list(self.state.recent_turns)

    @workflow.update(
        name=SET_GROUP_REVISION, description="Report a new revision of the group; it is read at the next turn boundary."
    )
    def set_group_revision(self, revision: int) -> None:
        self.state = record_group_revision(self.state, revision)

    post_message = update_handler("post_message")
    add_member = update_handler("add_member")
    remove_member = update_handler("remove_member")
    replace_member = update_handler("replace_member")
    reorder_members = update_handler("reorder_members")
    mute_member = update_handler("mute_member")
    unmute_member = update_handler("unmute_member")
    reinstate_member = update_handler("reinstate_member")
    update_settings = update_handler("update_settings")
    pause = update_handler("pause")
    resume = update_handler("resume")
    stop = update_handler("stop")

    signal_post_message = signal_handler("post_message")
    signal_add_member = signal_handler("add_member")
    signal_remove_member = signal_handler("remove_member")
    signal_replace_member = signal_handler("replace_member")
    signal_reorder_members = signal_handler("reorder_members")
    signal_mute_member = signal_handler("mute_member")
    signal_unmute_member = signal_handler("unmute_member")
    signal_reinstate_member = signal_handler("reinstate_member")
    signal_update_settings = signal_handler("update_settings")
    signal_pause = signal_handler("pause")
    signal_resume = signal_handler("resume")
    signal_stop = signal_handler("stop")

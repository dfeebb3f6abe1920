"""The workflow: one group conversation, for as long as it lasts.

Law: a loop of decide, carry out, apply. What happens next is decided in `groups`; here it is only done.
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
    from tertulia.workflows.carry_out import carry_out
    from tertulia.workflows.handlers import CommandHandlers, signal_handler, update_handler
    from tertulia.workflows.turns import take_turn
    from tertulia.workflows.ui_details import build_search_attributes, diff_search_attributes, render_details


MAX_HISTORY_EVENTS = 600
"""Of one run's history: about 100 turns. A worker that takes a conversation over replays it, 0.6 ms an event: if many
conversations were long, a restart would keep it busy for longer than a workflow task may take."""


@workflow.defn(name="GroupConversation")
class GroupConversation(CommandHandlers):
    """A durable group conversation. Its id is the conversation's id; its argument is its whole state."""

    @workflow.init
    def __init__(self, state: ConversationState) -> None:
        conversation_id = ConversationId(workflow.info().workflow_id)
        super().__init__(state.model_copy(update={"conversation_id": conversation_id}))
        self._turns_before_run = state.floor.turn

    @workflow.run
    async def run(self, state: ConversationState) -> ConversationStatus:
        """Talk until the conversation is closed; the result is its final status."""
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
            # Only now: commands may have changed the state meanwhile.
            self.state = apply(self.state, event)

    async def _execute(self, decision: Decision) -> AnyEvent | None:
        if isinstance(decision, WaitForInput):
            return await self._wait_for_input(decision)
        if isinstance(decision, TakeTurn):
            return await take_turn(self.state, decision, lambda: in_flight_policy(self.state))
        return await carry_out(self.state, decision)

    async def _wait_for_input(self, decision: WaitForInput) -> ProbeDue | None:
        """Rest until a command gives work or, with nobody left to speak, until it is time to try someone."""

        def has_work() -> bool:
            return decide(self.state) != decision or self._should_continue_as_new()

        if decision.until is None:
            await workflow.wait_condition(has_work)
            return None
        delay = max(decision.until - workflow.now(), timedelta())
        try:
            await workflow.wait_condition(
                has_work, timeout=delay, timeout_summary="nobody can speak; then one is tried"
            )
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
        self.is_draining = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(self.state)

    def _update_ui(self) -> None:
        workflow.set_current_details(render_details(self.state))
        updates = diff_search_attributes(workflow.info().typed_search_attributes, build_search_attributes(self.state))
        if updates:
            workflow.upsert_search_attributes(updates)

    @workflow.query(description="Phase, roster, usage, what waits and what was refused.")
    def status(self) -> ConversationStatus:
        return build_status(self.state)

    @workflow.query(description="Who is here, in order.")
    def roster(self) -> RosterStatus:
        return build_roster_status(self.state)

    @workflow.query(description="The last turns: who spoke, why, and the beginning of what was said.")
    def recent_turns(self) -> list[TurnSummary]:
        return list(self.state.recent_turns)

    @workflow.update(description="The group has a new revision: it is read at the next turn boundary.")
    def group_changed(self, revision: int) -> None:
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

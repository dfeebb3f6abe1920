"""Execute a member's turn; drop it if the speaker is removed meanwhile.

Invariant: the first record of a turn is the only one. A dropped turn is recorded as silent at once, so the message of
a call that still runs can no longer be committed.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from tertulia.core import activity_contracts
    from tertulia.core.activity_contracts import ActivityName, ContextLimits
    from tertulia.core.decisions import TakeTurn
    from tertulia.core.errors import truncate
    from tertulia.core.events import TurnCompleted
    from tertulia.core.failover import can_use_fallbacks
    from tertulia.core.group import InFlight
    from tertulia.core.round_rules import termination_tokens
    from tertulia.core.state import STATE_PREVIEW_CHARS, ConversationState
    from tertulia.workflows.activity_calls import call_database, call_model, describe_cause

_TurnHandle = workflow.ActivityHandle[activity_contracts.TurnResult]


async def take_turn(
    state: ConversationState, decision: TakeTurn, in_flight_policy: Callable[[], InFlight | None]
) -> TurnCompleted:
    """Execute a turn and return its result.

    Args:
        state: the state in which the turn was decided.
        decision: the turn.
        in_flight_policy: returns the policy for the running turn once its speaker is to be removed, else None.
    """
    started_at = workflow.now()
    request = _build_input(state, decision)
    speaker = decision.chosen.member.name
    line = f"turn {decision.turn} · {speaker} · {decision.chosen.reason}"
    call = call_model(state, ActivityName.TAKE_TURN, request, activity_contracts.TurnResult, line)
    try:
        await workflow.wait_condition(lambda: call.done() or in_flight_policy() is not None)
    except asyncio.CancelledError:
        call.cancel()
        with suppress(ActivityError, asyncio.CancelledError):
            await call
        raise
    policy = in_flight_policy()
    if call.done() or policy is None:
        result = await _await_result(request, call)
    else:
        result = await _drop_turn(request, call, policy)
    return _turn_completed(decision, result, (workflow.now() - started_at).total_seconds())


async def _await_result(request: activity_contracts.TakeTurnInput, call: _TurnHandle) -> activity_contracts.TurnResult:
    try:
        return await call
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        silent_turn = activity_contracts.RecordSilentTurnInput(
            **dict(request), error=truncate(describe_cause(error)), attempts=0
        )
        return await _record_silent_turn(silent_turn, "failed")


async def _drop_turn(
    request: activity_contracts.TakeTurnInput, call: _TurnHandle, policy: InFlight
) -> activity_contracts.TurnResult:
    """Record the turn as silent. `cancel` then ends the call, `discard` awaits it so that its cost is recorded."""
    outcome = "cancelled" if policy == "cancel" else "discarded"
    if policy == "cancel":
        call.cancel()
        call.add_done_callback(_ignore_exception)
    silent_turn = activity_contracts.RecordSilentTurnInput(
        **dict(request), error="removed while it spoke", attempts=0, outcome=outcome
    )
    recorded = await _record_silent_turn(silent_turn, f"was removed during its turn ({policy})")
    if policy == "cancel":
        return recorded
    with suppress(ActivityError):
        return await call
    return recorded


def _ignore_exception(call: asyncio.Task[activity_contracts.TurnResult]) -> None:
    # asyncio logs an error for a task whose exception is never read.
    if not call.cancelled():
        call.exception()


async def _record_silent_turn(
    request: activity_contracts.RecordSilentTurnInput, explanation: str
) -> activity_contracts.TurnResult:
    line = f"turn {request.turn} · {request.speaker.name} {explanation}"
    return await call_database(ActivityName.RECORD_SILENT_TURN, request, activity_contracts.TurnResult, line)


def _build_input(state: ConversationState, decision: TakeTurn) -> activity_contracts.TakeTurnInput:
    settings, chosen = state.settings, decision.chosen
    return activity_contracts.TakeTurnInput(
        conversation_id=state.conversation_id,
        turn=decision.turn,
        round=state.rounds,
        speaker=chosen.member,
        epoch=state.roster.epoch,
        seq=state.last_seq,
        chosen_by=chosen.chosen_by,
        reason=chosen.reason,
        tokens=termination_tokens(state),
        context=ContextLimits(messages=settings.context_messages, tokens=settings.context_tokens),
        preview_chars=settings.preview_chars,
        max_message_chars=settings.max_message_chars,
        model_attempts=1 if decision.trial else settings.model_attempts,
        timeout_seconds=settings.turn_timeout_seconds,
        first_fallback_index=decision.first_fallback_index,
        use_fallbacks=can_use_fallbacks(state, chosen.in_place_of or chosen.member.agent_id),
        conclude=decision.conclude,
        model_override=settings.model,
    )


def _turn_completed(decision: TakeTurn, result: activity_contracts.TurnResult, seconds: float) -> TurnCompleted:
    return TurnCompleted(
        at=workflow.now(),
        turn=decision.turn,
        speaker=decision.chosen.member,
        outcome=result.outcome,
        text_preview=truncate(result.text_preview, STATE_PREVIEW_CHARS),
        seq=result.seq,
        chosen_by=decision.chosen.chosen_by,
        reason=decision.chosen.reason,
        tokens_found=result.tokens_found,
        usage=result.usage,
        seconds=seconds,
        fallback_index=result.fallback_index,
        error=truncate(result.error, STATE_PREVIEW_CHARS),
    )

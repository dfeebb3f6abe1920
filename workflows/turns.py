"""How a participant's turn is carried out, and what becomes of it when the speaker is removed meanwhile.

Law: the first record of a turn is the only one. A turn that is to be dropped is recorded as silent at once; so the
words of a call that still runs can no longer be committed.
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
    """Let the speaker take its turn; `in_flight_policy` says whether it is to leave without its words meanwhile."""
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
        return await _record_silent_turn(silent_turn, "could not speak")


async def _drop_turn(
    request: activity_contracts.TakeTurnInput, call: _TurnHandle, policy: InFlight
) -> activity_contracts.TurnResult:
    """`cancel` ends the call, `discard` awaits it, for the sake of what it costs; its words stand in no case."""
    outcome = "cancelled" if policy == "cancel" else "discarded"
    if policy == "cancel":
        call.cancel()
        call.add_done_callback(_ignore_exception)
    silent_turn = activity_contracts.RecordSilentTurnInput(
        **dict(request), error="removed while it spoke", attempts=0, outcome=outcome
    )
    recorded = await _record_silent_turn(silent_turn, f"is removed while it speaks ({policy})")
    if policy == "cancel":
        return recorded
    with suppress(ActivityError):
        return await call
    return recorded


def _ignore_exception(call: asyncio.Task[activity_contracts.TurnResult]) -> None:
    """Whatever comes of a cancelled call is of no interest; asyncio complains if nobody looks."""
    if not call.cancelled():
        call.exception()


async def _record_silent_turn(
    request: activity_contracts.RecordSilentTurnInput, why: str
) -> activity_contracts.TurnResult:
    line = f"turn {request.turn} · {request.speaker.name} {why}"
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

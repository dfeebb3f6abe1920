"""A member's turn: one model call, and one commit.

Invariant: a turn is committed once. A retried activity returns the committed turn and calls no model.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import JsonValue
from temporalio import activity

from tertulia.activities.completions import Completion
from tertulia.activities.errors import ModelError
from tertulia.activities.failpoints import Failpoint, hold_if_armed
from tertulia.activities.live_text import LiveTextPublisher, StreamPreview
from tertulia.activities.model_retries import ModelsExhausted, RetryState, raise_next_attempt
from tertulia.activities.provider import ModelProvider
from tertulia.activities.turn_results import base_record_fields, build_turn_result, read_committed_result, turn_usage
from tertulia.core.activity_contracts import ActivityName, TakeTurnInput, TurnResult
from tertulia.core.agents import ModelChoice
from tertulia.core.context_window import compute_window
from tertulia.core.errors import NotFound
from tertulia.core.prompt import ChatMessage, build_member_prompt
from tertulia.core.records import FinishedTurn, TurnRecord
from tertulia.core.text import clean_text, is_pass, strip_own_name
from tertulia.store.database import Database
from tertulia.store.transcript import read_window
from tertulia.store.turns import TurnContext, charge_turn, commit_turn, read_turn_context, record_turn_start


class TurnActivities:
    """The activity of the model queue that takes members' turns."""

    def __init__(self, database: Database, provider: ModelProvider) -> None:
        self._database = database
        self._provider = provider
        self._live_text = LiveTextPublisher(database)

    @activity.defn(name=ActivityName.TAKE_TURN)
    async def take_turn(self, request: TakeTurnInput) -> TurnResult:
        """Call the speaker's model and commit the turn; return the committed turn if there is one.

        Raises:
            NotFound: the speaker was deleted.
            ApplicationError: the model failed, and another attempt follows.
        """
        started_at = datetime.now(UTC)
        context = await read_turn_context(self._database, request.conversation_id, request.speaker.agent_id)
        if context is None:
            raise NotFound(f"the agent {request.speaker.agent_id!r} was deleted")
        # An earlier attempt has committed it, and its worker died before Temporal received the result.
        if context.last_turn >= request.turn:
            return await read_committed_result(self._database, request)
        retry_state = RetryState.load(request.first_fallback_index)
        try:
            completion, text = await self._generate_message(request, context, retry_state)
        except ModelsExhausted as exhausted:
            return await self._commit(request, failed_turn_record(request, exhausted.retry_state, started_at), None)
        turn = _turn_record(request, context, completion, text, retry_state, started_at)
        return await self._commit(request, turn, text if turn.outcome == "spoke" else None)

    async def _generate_message(
        self, request: TakeTurnInput, context: TurnContext, retry_state: RetryState
    ) -> tuple[Completion, str]:
        view = compute_window(
            request.seq,
            context.chars,
            max_messages=request.context.messages,
            max_tokens=request.context.tokens,
            visible_from=context.visible_from,
        )
        transcript, _ = await asyncio.gather(
            read_window(self._database, request.conversation_id, view, request.seq), self._record_turn_start(request)
        )
        prompt = build_member_prompt(
            context.agent, context.group_context, transcript, request.tokens, conclude=request.conclude
        )
        await hold_if_armed(Failpoint.BEFORE_MODEL_CALL)
        models = context.agent.model.with_model(request.model_override)
        try:
            completion = await self._call_model(request, context, retry_state.current_model(models), prompt)
            text = clean_text(strip_own_name(completion.text.strip(), request.speaker.name), request.max_message_chars)
            # An empty answer counts as a failure of the model, so that a fallback model can answer.
            if not text:
                raise ModelError("the model returned an empty answer", retryable=True, usage=completion.usage)  # noqa: TRY301
        except ModelError as error:
            raise_next_attempt(error, retry_state, models, request.model_attempts, request.use_fallbacks)
        return completion, text

    async def _call_model(
        self, request: TakeTurnInput, context: TurnContext, current_model: ModelChoice, prompt: Sequence[ChatMessage]
    ) -> Completion:
        """Call the model; publish the text as it arrives if somebody watches the conversation."""
        if not context.watched:
            return await self._provider.complete(current_model, prompt, timeout_seconds=request.timeout_seconds)
        preview = StreamPreview(request.speaker.name, request.max_message_chars)
        with self._live_text.publish_turn(request.conversation_id, request.turn, activity.info().attempt, preview):
            return await self._provider.complete(
                current_model, prompt, timeout_seconds=request.timeout_seconds, on_text=preview.add_text
            )

    async def _record_turn_start(self, request: TakeTurnInput) -> None:
        start_detail: dict[str, JsonValue] = {
            "turn": request.turn,
            "round": request.round,
            "speaker_id": request.speaker.agent_id,
            "speaker": request.speaker.name,
            "chosen_by": request.chosen_by,
            "reason": request.reason,
        }
        await record_turn_start(self._database, request.conversation_id, request.turn, start_detail=start_detail)

    async def _commit(self, request: TakeTurnInput, record: TurnRecord, text: str | None) -> TurnResult:
        await hold_if_armed(Failpoint.BEFORE_TURN_COMMIT)
        earlier = await commit_turn(self._database, request.conversation_id, record, seq_before=request.seq, text=text)
        await hold_if_armed(Failpoint.AFTER_TURN_COMMIT)
        if earlier is None:
            return build_turn_result(request, record, text or "")
        await self._charge_dropped_turn(request, record, earlier)
        return await read_committed_result(self._database, request)

    async def _charge_dropped_turn(self, request: TakeTurnInput, record: TurnRecord, earlier: FinishedTurn) -> None:
        # The workflow dropped the turn during the call: the text is lost, the cost is not.
        if earlier.outcome in ("discarded", "cancelled"):
            await charge_turn(self._database, request.conversation_id, request.turn, turn_usage(record))


def _turn_record(
    request: TakeTurnInput,
    context: TurnContext,
    completion: Completion,
    text: str,
    retry_state: RetryState,
    started_at: datetime,
) -> TurnRecord:
    has_passed = is_pass(text)
    cut = "cut at max_message_chars" if len(completion.text.strip()) > request.max_message_chars else ""
    notes = [retry_state.error, completion.note, cut]
    return TurnRecord(
        **base_record_fields(request),
        outcome="passed" if has_passed else "spoke",
        error="; ".join(note for note in notes if note) or None,
        seq=request.seq if has_passed else request.seq + 1,
        attempt=activity.info().attempt,
        model=completion.model,
        fallback_index=retry_state.current_index(context.agent.model),
        started_at=started_at,
        **(retry_state.usage + completion.usage).model_dump(),
    )


def failed_turn_record(request: TakeTurnInput, retry_state: RetryState, started_at: datetime) -> TurnRecord:
    """Return the record of a turn for which no model gave a usable answer."""
    return TurnRecord(
        **base_record_fields(request),
        outcome="failed",
        error=retry_state.error,
        seq=request.seq,
        attempt=retry_state.all_failures,
        started_at=started_at,
        **retry_state.usage.model_dump(),
    )

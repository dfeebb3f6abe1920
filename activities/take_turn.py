"""A participant's turn: one model call, committed once."""

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
    """The activities on the model queue that let participants speak."""

    def __init__(self, database: Database, provider: ModelProvider) -> None:
        self._database = database
        self._provider = provider
        self._live_text = LiveTextPublisher(database)

    @activity.defn(name=ActivityName.TAKE_TURN)
    async def take_turn(self, work: TakeTurnInput) -> TurnResult:
        """Let the speaker take its turn, or return what it said if the turn is committed already."""
        started_at = datetime.now(UTC)
        table = await read_turn_context(self._database, work.conversation_id, work.speaker.agent_id)
        if table is None:
            raise NotFound(f"the agent {work.speaker.agent_id!r} no longer exists")
        if table.last_turn >= work.turn:
            return await read_committed_result(self._database, work)
        retry_state = RetryState.current(work.first_fallback_index)
        try:
            completion, text = await self._generate_message(work, table, retry_state)
        except ModelsExhausted as exhausted:
            return await self._commit(work, failed_turn_record(work, exhausted.retry_state, started_at), None)
        turn = _turn_record(work, table, completion, text, retry_state, started_at)
        return await self._commit(work, turn, text if turn.outcome == "spoke" else None)

    async def _generate_message(
        self, work: TakeTurnInput, table: TurnContext, retry_state: RetryState
    ) -> tuple[Completion, str]:
        view = compute_window(
            work.seq,
            table.chars,
            max_messages=work.context.messages,
            max_tokens=work.context.tokens,
            visible_from=table.visible_from,
        )
        transcript, _ = await asyncio.gather(
            read_window(self._database, work.conversation_id, view, work.seq), self._record_turn_start(work)
        )
        prompt = build_member_prompt(table.agent, table.group_context, transcript, work.tokens, conclude=work.conclude)
        await hold_if_armed(Failpoint.BEFORE_MODEL_CALL)
        models = table.agent.model.with_model(work.model_override)
        try:
            completion = await self._call_model(work, table, retry_state.current_model(models), prompt)
            text = clean_text(strip_own_name(completion.text.strip(), work.speaker.name), work.max_message_chars)
            if not text:
                raise ModelError("the model said nothing", retryable=True, usage=completion.usage)  # noqa: TRY301
        except ModelError as error:
            raise_next_attempt(error, retry_state, models, work.model_attempts, work.use_fallbacks)
        return completion, text

    async def _call_model(
        self, work: TakeTurnInput, table: TurnContext, current_model: ModelChoice, prompt: Sequence[ChatMessage]
    ) -> Completion:
        """The model's answer; who watches hears it as it comes."""
        if not table.watched:
            return await self._provider.complete(current_model, prompt, timeout_seconds=work.timeout_seconds)
        preview = StreamPreview(work.speaker.name, work.max_message_chars)
        with self._live_text.publish_turn(work.conversation_id, work.turn, activity.info().attempt, preview):
            return await self._provider.complete(
                current_model, prompt, timeout_seconds=work.timeout_seconds, on_text=preview.add_text
            )

    async def _record_turn_start(self, work: TakeTurnInput) -> None:
        """Tell that the turn begins; that another attempt has told already changes nothing."""
        begun: dict[str, JsonValue] = {
            "turn": work.turn,
            "round": work.round,
            "speaker_id": work.speaker.agent_id,
            "speaker": work.speaker.name,
            "chosen_by": work.chosen_by,
            "reason": work.reason,
        }
        await record_turn_start(self._database, work.conversation_id, work.turn, begun=begun)

    async def _commit(self, work: TakeTurnInput, record: TurnRecord, text: str | None) -> TurnResult:
        await hold_if_armed(Failpoint.BEFORE_TURN_COMMIT)
        earlier = await commit_turn(self._database, work.conversation_id, record, seq_before=work.seq, text=text)
        await hold_if_armed(Failpoint.AFTER_TURN_COMMIT)
        if earlier is None:
            return build_turn_result(work, record, text or "")
        await self._charge_dropped_turn(work, record, earlier)
        return await read_committed_result(self._database, work)

    async def _charge_dropped_turn(self, work: TakeTurnInput, record: TurnRecord, earlier: FinishedTurn) -> None:
        if earlier.outcome in ("discarded", "cancelled"):
            await charge_turn(self._database, work.conversation_id, work.turn, turn_usage(record))


def _turn_record(
    work: TakeTurnInput,
    table: TurnContext,
    completion: Completion,
    text: str,
    retry_state: RetryState,
    started_at: datetime,
) -> TurnRecord:
    has_passed = is_pass(text)
    cut = "cut at max_message_chars" if len(completion.text.strip()) > work.max_message_chars else ""
    notes = [retry_state.trouble, completion.note, cut]
    return TurnRecord(
        **base_record_fields(work),
        outcome="passed" if has_passed else "spoke",
        error="; ".join(note for note in notes if note) or None,
        seq=work.seq if has_passed else work.seq + 1,
        attempt=activity.info().attempt,
        model=completion.model,
        fallback_index=retry_state.current_index(table.agent.model),
        started_at=started_at,
        **(retry_state.usage + completion.usage).model_dump(),
    )


def failed_turn_record(work: TakeTurnInput, retry_state: RetryState, started_at: datetime) -> TurnRecord:
    """The record of a turn for which no model had an answer."""
    return TurnRecord(
        **base_record_fields(work),
        outcome="failed",
        error=retry_state.trouble,
        seq=work.seq,
        attempt=retry_state.all_failures,
        started_at=started_at,
        **retry_state.usage.model_dump(),
    )

"""A participant's turn: one model call, committed once."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import JsonValue
from temporalio import activity

from tertulia.activities.errors import ModelError
from tertulia.activities.failpoints import Failpoint, reached
from tertulia.activities.live_text import LiveWords, Overture
from tertulia.activities.model_retries import ModelsSpent, Struggle, failed
from tertulia.activities.provider import Completion, ModelProvider
from tertulia.activities.turn_results import committed_result, record_of, result_of, usage_of
from tertulia.core.activity_contracts import ActivityName, TakeTurn, TurnResult
from tertulia.core.agents import ModelChoice
from tertulia.core.context_window import window
from tertulia.core.errors import NotFound
from tertulia.core.prompt import ChatMessage, participant_prompt
from tertulia.core.text import clean, is_pass, without_own_name
from tertulia.store.database import Database
from tertulia.store.transcript import read_window
from tertulia.store.turns import FinishedTurn, Table, TurnRecord, begin_turn, charge_turn, commit_turn, read_table


class Speaking:
    """The activities on the model queue that let participants speak."""

    def __init__(self, database: Database, provider: ModelProvider) -> None:
        self._database = database
        self._provider = provider
        self._live = LiveWords(database)

    @activity.defn(name=ActivityName.TAKE_TURN)
    async def take_turn(self, work: TakeTurn) -> TurnResult:
        """Let the speaker take its turn, or return what it said if the turn is committed already."""
        started_at = datetime.now(UTC)
        table = await read_table(self._database, work.conversation_id, work.speaker.agent_id)
        if table is None:
            raise NotFound(f"the agent {work.speaker.agent_id!r} no longer exists")
        if table.last_turn >= work.turn:
            return await committed_result(self._database, work)
        struggle = Struggle.so_far(work.first_model)
        try:
            completion, text = await self._speak(work, table, struggle)
        except ModelsSpent as spent:
            return await self._commit(work, failed_turn(work, spent.struggle, started_at), None)
        turn = _turn(work, table, completion, text, struggle, started_at)
        return await self._commit(work, turn, text if turn.outcome == "spoke" else None)

    async def _speak(self, work: TakeTurn, table: Table, struggle: Struggle) -> tuple[Completion, str]:
        view = window(
            work.seq,
            table.chars,
            max_messages=work.context.messages,
            max_tokens=work.context.tokens,
            visible_from=table.visible_from,
        )
        heard, _ = await asyncio.gather(
            read_window(self._database, work.conversation_id, view, work.seq), self._begin(work)
        )
        prompt = participant_prompt(table.agent, table.company, heard, work.tokens, conclude=work.conclude)
        await reached(Failpoint.BEFORE_MODEL_CALL)
        models = table.agent.model.with_model(work.model)
        try:
            completion = await self._ask(work, table, struggle.choice(models), prompt)
            text = clean(without_own_name(completion.text.strip(), work.speaker.name), work.max_message_chars)
            if not text:
                raise ModelError("the model said nothing", retryable=True, usage=completion.usage)  # noqa: TRY301
        except ModelError as error:
            failed(error, struggle, models, work.model_attempts, work.use_fallbacks)
        return completion, text

    async def _ask(
        self, work: TakeTurn, table: Table, choice: ModelChoice, prompt: Sequence[ChatMessage]
    ) -> Completion:
        """The model's answer; who watches hears it as it comes."""
        if not table.watched:
            return await self._provider.complete(choice, prompt, timeout_seconds=work.timeout_seconds)
        overture = Overture(work.speaker.name, work.max_message_chars)
        with self._live.of_turn(work.conversation_id, work.turn, activity.info().attempt, overture):
            return await self._provider.complete(
                choice, prompt, timeout_seconds=work.timeout_seconds, on_words=overture.hear
            )

    async def _begin(self, work: TakeTurn) -> None:
        """Tell that the turn begins; that another attempt has told already changes nothing."""
        begun: dict[str, JsonValue] = {
            "turn": work.turn,
            "round": work.round,
            "speaker_id": work.speaker.agent_id,
            "speaker": work.speaker.name,
            "chosen_by": work.chosen_by,
            "reason": work.reason,
        }
        await begin_turn(self._database, work.conversation_id, work.turn, begun=begun)

    async def _commit(self, work: TakeTurn, record: TurnRecord, said: str | None) -> TurnResult:
        await reached(Failpoint.BEFORE_TURN_COMMIT)
        earlier = await commit_turn(self._database, work.conversation_id, record, seq_before=work.seq, text=said)
        await reached(Failpoint.AFTER_TURN_COMMIT)
        if earlier is None:
            return result_of(work, record, said or "")
        await self._charge(work, record, earlier)
        return await committed_result(self._database, work)

    async def _charge(self, work: TakeTurn, record: TurnRecord, earlier: FinishedTurn) -> None:
        if earlier.outcome in ("discarded", "cancelled"):
            await charge_turn(self._database, work.conversation_id, work.turn, usage_of(record))


def _turn(
    work: TakeTurn, table: Table, completion: Completion, text: str, struggle: Struggle, started_at: datetime
) -> TurnRecord:
    passed = is_pass(text)
    cut = "cut at max_message_chars" if len(completion.text.strip()) > work.max_message_chars else ""
    notes = [struggle.trouble, completion.note, cut]
    return TurnRecord(
        **record_of(work),
        outcome="passed" if passed else "spoke",
        error="; ".join(note for note in notes if note) or None,
        seq=work.seq if passed else work.seq + 1,
        attempt=activity.info().attempt,
        model=completion.model,
        fallback=struggle.index(table.agent.model),
        started_at=started_at,
        **(struggle.usage + completion.usage).model_dump(),
    )


def failed_turn(work: TakeTurn, struggle: Struggle, started_at: datetime) -> TurnRecord:
    """The record of a turn for which no model had an answer."""
    return TurnRecord(
        **record_of(work),
        outcome="failed",
        error=struggle.trouble,
        seq=work.seq,
        attempt=struggle.all_failures,
        started_at=started_at,
        **struggle.usage.model_dump(),
    )

"""A participant's turn: one model call, committed once."""

from datetime import UTC, datetime

from temporalio import activity

from activities.contracts import ActivityName, TakeTurn, TurnResult
from activities.errors import ModelError, fail_model_attempt
from activities.failpoints import Failpoint, reached
from activities.heartbeat import heartbeating
from activities.provider import Completion, ModelProvider
from activities.results import committed_result, record_of, result_of
from groups.errors import NotFound
from groups.prompt import participant_prompt
from groups.window import window
from groups.words import clean, is_pass, without_own_name
from store.database import Database
from store.transcript import read_window
from store.turns import Table, TurnRecord, commit_turn, read_table


class Speaking:
    """The activities on the model queue that let participants speak."""

    def __init__(self, database: Database, provider: ModelProvider) -> None:
        self._database = database
        self._provider = provider

    @activity.defn(name=ActivityName.TAKE_TURN)
    async def take_turn(self, work: TakeTurn) -> TurnResult:
        """Let the speaker take its turn, or return what it said if the turn is committed already."""
        started_at = datetime.now(UTC)
        async with heartbeating():
            table = await read_table(self._database, work.conversation_id, work.speaker.agent_id)
            if table is None:
                raise NotFound(f"the agent {work.speaker.agent_id!r} no longer exists")
            if table.last_turn >= work.turn:
                return await committed_result(self._database, work)
            completion, text = await self._speak(work, table)
            return await self._commit(work, completion, text, started_at)

    async def _speak(self, work: TakeTurn, table: Table) -> tuple[Completion, str]:
        view = window(
            work.seq,
            table.chars,
            max_messages=work.context.messages,
            max_tokens=work.context.tokens,
            visible_from=table.visible_from,
        )
        heard = await read_window(self._database, work.conversation_id, view, work.seq)
        prompt = participant_prompt(table.agent, table.company, heard, work.tokens)
        await reached(Failpoint.BEFORE_MODEL_CALL)
        try:
            completion = await self._provider.complete(table.agent.model, prompt, timeout_seconds=work.timeout_seconds)
            text = clean(without_own_name(completion.text.strip(), work.speaker.name), work.max_message_chars)
            if not text:
                raise ModelError(f"the model said nothing (finish reason: {completion.finish_reason})", retryable=True)  # noqa: TRY301
        except ModelError as error:
            fail_model_attempt(error, attempt=activity.info().attempt, attempts=work.model_attempts)
        return completion, text

    async def _commit(self, work: TakeTurn, completion: Completion, text: str, started_at: datetime) -> TurnResult:
        passed = is_pass(text)
        record = TurnRecord(
            **record_of(work),
            outcome="passed" if passed else "spoke",
            seq=work.seq if passed else work.seq + 1,
            attempt=activity.info().attempt,
            model=completion.model,
            prompt_tokens=completion.usage.prompt_tokens,
            completion_tokens=completion.usage.completion_tokens,
            started_at=started_at,
        )
        said = None if passed else text
        await reached(Failpoint.BEFORE_TURN_COMMIT)
        earlier = await commit_turn(self._database, work.conversation_id, record, seq_before=work.seq, text=said)
        await reached(Failpoint.AFTER_TURN_COMMIT)
        return await committed_result(self._database, work) if earlier else result_of(work, record, said or "")

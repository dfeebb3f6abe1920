"""A manager's choice of the next speaker: a forced tool call, with a second chance for a bad answer."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, JsonValue, ValidationError
from temporalio import activity

from tertulia.activities.errors import ModelError
from tertulia.activities.failpoints import Failpoint, reached
from tertulia.activities.model_retries import ModelsSpent, Struggle, failed
from tertulia.activities.provider import Completion, ModelProvider
from tertulia.core.activity_contracts import ActivityName, ChooseSpeaker, SpeakerChoice
from tertulia.core.context_window import window
from tertulia.core.errors import NotFound, brief
from tertulia.core.prompt import ChatMessage, manager_prompt
from tertulia.core.roster import MemberRef
from tertulia.core.usage import Usage
from tertulia.store.database import Database
from tertulia.store.selections import SelectionKey, SelectionRecord, commit_selection, find_selection
from tertulia.store.transcript import read_window
from tertulia.store.turns import Table, read_table

CHOOSE = "choose_next_participant"
FINISH = "finish"
REASON_LIMIT = 300

Outcome = Literal["chosen", "finished", "failed"]


class BadAnswer(Exception):
    """The manager's answer chooses nobody; the text is fed back to it."""


class _ChooseArguments(BaseModel):
    participant: str
    reason: str = ""


class _FinishArguments(BaseModel):
    reason: str = ""


class Choosing:
    """The activities on the model queue that ask managers."""

    def __init__(self, database: Database, provider: ModelProvider) -> None:
        self._database = database
        self._provider = provider

    @activity.defn(name=ActivityName.CHOOSE_SPEAKER)
    async def choose_speaker(self, work: ChooseSpeaker) -> SpeakerChoice:
        """Ask the manager, or return what it chose if this choice is committed already."""
        if activity.info().attempt > 1:
            earlier = await find_selection(self._database, _key(work))
            if earlier:
                return _choice(work, earlier)
        table = await read_table(self._database, work.conversation_id, work.manager_id)
        if table is None:
            raise NotFound(f"the managing agent {work.manager_id!r} no longer exists")
        struggle = Struggle.so_far(work.first_model)
        try:
            record = await self._ask(work, table, struggle)
        except ModelsSpent as spent:
            record = _failed(spent.struggle)
        await reached(Failpoint.BEFORE_CHOICE_COMMIT)
        return _choice(work, await commit_selection(self._database, _key(work), record))

    async def _ask(self, work: ChooseSpeaker, table: Table, struggle: Struggle) -> SelectionRecord:
        view = window(table.last_seq, table.chars, max_messages=work.context.messages, max_tokens=work.context.tokens)
        heard = await read_window(self._database, work.conversation_id, view, table.last_seq)
        names = [candidate.name for candidate in work.candidates]
        prompt = manager_prompt(table.agent, table.company, heard, names)
        models = table.agent.model.with_model(work.model)
        asking = _Asking(struggle, struggle.index(models))
        for _ in range(work.max_selection_attempts):
            try:
                completion = await self._provider.complete(
                    struggle.choice(models), prompt, timeout_seconds=work.timeout_seconds, tools=_tools(names)
                )
            except ModelError as error:
                so_far = struggle.model_copy(update={"usage": asking.usage})
                failed(error, so_far, models, work.model_attempts, work.use_fallbacks)
            asking.count(completion)
            try:
                return _read_answer(completion, work.candidates, asking)
            except BadAnswer as bad:
                asking.complaint = str(bad)
                prompt = [*prompt, *_feedback(completion, asking.complaint, names)]
        reason = f"after {work.max_selection_attempts} attempts nobody was chosen: {asking.complaint}"
        return asking.record("failed", None, reason)


class _Asking:
    """What came of asking so far: what it cost, and what was wrong with the last answer."""

    def __init__(self, struggle: Struggle, model: int) -> None:
        self.usage = struggle.usage
        self.complaint = ""
        self._trouble = struggle.trouble
        self._model = model
        self._answers = 0

    def count(self, completion: Completion) -> None:
        self.usage += completion.usage
        self._answers += 1

    def record(self, outcome: Outcome, candidate: MemberRef | None, reason: str) -> SelectionRecord:
        storable = reason.replace("\0", "").encode("utf-8", "replace").decode()
        return SelectionRecord(
            outcome=outcome,
            agent_id=candidate.agent_id if candidate else None,
            reason=brief(storable, REASON_LIMIT),
            error=self._trouble or None,
            fallback=self._model,
            attempts=self._answers,
            **self.usage.model_dump(),
        )


def _failed(struggle: Struggle) -> SelectionRecord:
    """No model of the manager had an answer."""
    return SelectionRecord(
        outcome="failed",
        reason=struggle.trouble,
        error=struggle.trouble,
        attempts=struggle.all_failures,
        **struggle.usage.model_dump(),
    )


def _key(work: ChooseSpeaker) -> SelectionKey:
    return SelectionKey(
        conversation_id=work.conversation_id, round=work.round, turn=work.turn, manager_id=work.manager_id
    )


def _read_answer(completion: Completion, candidates: Sequence[MemberRef], asking: _Asking) -> SelectionRecord:
    if not completion.tool_calls:
        raise BadAnswer("no tool was called")
    call = completion.tool_calls[0]
    try:
        if call.name == FINISH:
            reason = _FinishArguments.model_validate_json(call.arguments).reason
            return asking.record("finished", None, reason)
        if call.name != CHOOSE:
            raise BadAnswer(f"there is no tool {brief(call.name, 60)!r}")
        answer = _ChooseArguments.model_validate_json(call.arguments)
    except ValidationError:
        raise BadAnswer(f"the arguments of {call.name} do not fit its parameters") from None
    for candidate in candidates:
        if candidate.name.casefold() == answer.participant.strip().casefold():
            return asking.record("chosen", candidate, answer.reason)
    raise BadAnswer(f"{brief(answer.participant, 60)!r} cannot be chosen now")


def _feedback(completion: Completion, complaint: str, names: Sequence[str]) -> list[ChatMessage]:
    answered = completion.text or "; ".join(f"{call.name}({call.arguments})" for call in completion.tool_calls)
    return [
        ChatMessage(role="assistant", content=brief(answered, 200) or "(nothing)"),
        ChatMessage(role="user", content=f"That does not work: {complaint}. You can choose: {', '.join(names)}."),
    ]


def _tools(names: Sequence[str]) -> list[dict[str, JsonValue]]:
    reason: JsonValue = {"type": "string", "description": "why, in one short sentence"}
    participant: JsonValue = {"type": "string", "enum": list(names)}
    return [
        _tool(CHOOSE, "Give the floor to a participant.", {"participant": participant, "reason": reason}),
        _tool(FINISH, "End the round: all that was asked for is done.", {"reason": reason}),
    ]


def _tool(name: str, description: str, properties: dict[str, JsonValue]) -> dict[str, JsonValue]:
    parameters: JsonValue = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _choice(work: ChooseSpeaker, record: SelectionRecord) -> SpeakerChoice:
    names = {candidate.agent_id: candidate.name for candidate in work.candidates}
    who = names.get(record.agent_id, str(record.agent_id)) if record.agent_id else f"({record.outcome})"
    usage = Usage(
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        model_calls=record.model_calls,
    )
    return SpeakerChoice(
        who=who,
        why=record.reason,
        outcome=record.outcome,
        agent_id=record.agent_id,
        usage=usage,
        model=record.fallback,
        trouble=record.error or "",
    )

"""Let a manager agent choose the next speaker, by a forced tool call; an invalid answer is returned to it once more.

Invariant: a choice is committed once. A retried activity returns the committed choice and calls no model.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, JsonValue, ValidationError
from temporalio import activity

from tertulia.activities.completions import Completion
from tertulia.activities.errors import ModelError
from tertulia.activities.failpoints import Failpoint, hold_if_armed
from tertulia.activities.model_retries import ModelsExhausted, RetryState, raise_next_attempt
from tertulia.activities.provider import ModelProvider
from tertulia.core.activity_contracts import ActivityName, ChooseSpeakerInput, ChooseSpeakerResult
from tertulia.core.context_window import compute_window
from tertulia.core.errors import NotFound, truncate
from tertulia.core.prompt import ChatMessage, build_manager_prompt
from tertulia.core.roster import MemberRef
from tertulia.core.usage import Usage
from tertulia.store.database import Database
from tertulia.store.selections import SelectionKey, SelectionRecord, commit_selection, find_selection
from tertulia.store.transcript import read_window
from tertulia.store.turns import TurnContext, read_turn_context

CHOOSE_TOOL = "choose_next_participant"
FINISH_TOOL = "finish"
MAX_REASON_CHARS = 300

SelectionOutcome = Literal["chosen", "finished", "failed"]


class InvalidChoice(Exception):
    """The manager's answer names no candidate. The message is sent back to the manager."""


class _ChooseArguments(BaseModel):
    participant: str
    reason: str = ""


class _FinishArguments(BaseModel):
    reason: str = ""


class SpeakerSelectionActivities:
    """The activity of the model queue that calls manager agents."""

    def __init__(self, database: Database, provider: ModelProvider) -> None:
        self._database = database
        self._provider = provider

    @activity.defn(name=ActivityName.CHOOSE_SPEAKER)
    async def choose_speaker(self, request: ChooseSpeakerInput) -> ChooseSpeakerResult:
        """Call the manager and commit its choice; return the committed choice if there is one.

        Raises:
            NotFound: the manager was deleted.
            ApplicationError: the model failed, and another attempt follows.
        """
        # The first attempt needs no query: nothing can be committed yet.
        if activity.info().attempt > 1:
            earlier = await find_selection(self._database, _selection_key(request))
            if earlier:
                return _build_result(request, earlier)
        context = await read_turn_context(self._database, request.conversation_id, request.manager_id)
        if context is None:
            raise NotFound(f"the manager {request.manager_id!r} was deleted")
        retry_state = RetryState.load(request.first_fallback_index)
        try:
            record = await self._ask_manager(request, context, retry_state)
        except ModelsExhausted as exhausted:
            record = _failed_selection(exhausted.retry_state)
        await hold_if_armed(Failpoint.BEFORE_CHOICE_COMMIT)
        return _build_result(request, await commit_selection(self._database, _selection_key(request), record))

    async def _ask_manager(
        self, request: ChooseSpeakerInput, context: TurnContext, retry_state: RetryState
    ) -> SelectionRecord:
        view = compute_window(
            context.last_seq, context.chars, max_messages=request.context.messages, max_tokens=request.context.tokens
        )
        transcript = await read_window(self._database, request.conversation_id, view, context.last_seq)
        names = [candidate.name for candidate in request.candidates]
        prompt = build_manager_prompt(context.agent, context.group_context, transcript, names)
        models = context.agent.model.with_model(request.model_override)
        progress = _SelectionProgress(retry_state, retry_state.current_index(models))
        for _ in range(request.max_selection_attempts):
            try:
                completion = await self._provider.complete(
                    retry_state.current_model(models),
                    prompt,
                    timeout_seconds=request.timeout_seconds,
                    tools=_selection_tools(names),
                )
            except ModelError as error:
                # The cost of invalid answers counts although the next attempt of the activity starts anew.
                current = retry_state.model_copy(update={"usage": progress.usage})
                raise_next_attempt(error, current, models, request.model_attempts, request.use_fallbacks)
            progress.add_completion(completion)
            try:
                return _parse_answer(completion, request.candidates, progress)
            except InvalidChoice as error:
                progress.last_error = str(error)
                prompt = [*prompt, *_feedback_messages(completion, progress.last_error, names)]
        reason = f"no valid choice after {request.max_selection_attempts} attempts: {progress.last_error}"
        return progress.record("failed", None, reason)


class _SelectionProgress:
    """Cost of the answers so far, and the fault of the last one."""

    def __init__(self, retry_state: RetryState, fallback_index: int) -> None:
        self.usage = retry_state.usage
        self.last_error = ""
        self._model_error = retry_state.error
        self._fallback_index = fallback_index
        self._answer_count = 0

    def add_completion(self, completion: Completion) -> None:
        self.usage += completion.usage
        self._answer_count += 1

    def record(self, outcome: SelectionOutcome, candidate: MemberRef | None, reason: str) -> SelectionRecord:
        # Postgres stores neither NUL nor lone surrogates, and a model can send both.
        storable = reason.replace("\0", "").encode("utf-8", "replace").decode()
        return SelectionRecord(
            outcome=outcome,
            agent_id=candidate.agent_id if candidate else None,
            reason=truncate(storable, MAX_REASON_CHARS),
            error=self._model_error or None,
            fallback=self._fallback_index,
            attempts=self._answer_count,
            **self.usage.model_dump(),
        )


def _failed_selection(retry_state: RetryState) -> SelectionRecord:
    return SelectionRecord(
        outcome="failed",
        reason=retry_state.error,
        error=retry_state.error,
        attempts=retry_state.all_failures,
        **retry_state.usage.model_dump(),
    )


def _selection_key(request: ChooseSpeakerInput) -> SelectionKey:
    return SelectionKey(
        conversation_id=request.conversation_id, round=request.round, turn=request.turn, manager_id=request.manager_id
    )


def _parse_answer(
    completion: Completion, candidates: Sequence[MemberRef], progress: _SelectionProgress
) -> SelectionRecord:
    if not completion.tool_calls:
        raise InvalidChoice("no tool was called")
    call = completion.tool_calls[0]
    try:
        if call.name == FINISH_TOOL:
            reason = _FinishArguments.model_validate_json(call.arguments).reason
            return progress.record("finished", None, reason)
        if call.name != CHOOSE_TOOL:
            raise InvalidChoice(f"there is no tool {truncate(call.name, 60)!r}")
        answer = _ChooseArguments.model_validate_json(call.arguments)
    except ValidationError:
        raise InvalidChoice(f"the arguments of {call.name} do not fit its parameters") from None
    for candidate in candidates:
        if candidate.name.casefold() == answer.participant.strip().casefold():
            return progress.record("chosen", candidate, answer.reason)
    raise InvalidChoice(f"{truncate(answer.participant, 60)!r} cannot be chosen now")


def _feedback_messages(completion: Completion, last_error: str, names: Sequence[str]) -> list[ChatMessage]:
    answer_text = completion.text or "; ".join(f"{call.name}({call.arguments})" for call in completion.tool_calls)
    return [
        ChatMessage(role="assistant", content=truncate(answer_text, 200) or "(nothing)"),
        ChatMessage(role="user", content=f"That does not work: {last_error}. You can choose: {', '.join(names)}."),
    ]


def _selection_tools(names: Sequence[str]) -> list[dict[str, JsonValue]]:
    reason: JsonValue = {"type": "string", "description": "why, in one short sentence"}
    participant: JsonValue = {"type": "string", "enum": list(names)}
    return [
        _function_tool(CHOOSE_TOOL, "Give the floor to a participant.", {"participant": participant, "reason": reason}),
        _function_tool(FINISH_TOOL, "End the round: all that was asked for is done.", {"reason": reason}),
    ]


def _function_tool(name: str, description: str, properties: dict[str, JsonValue]) -> dict[str, JsonValue]:
    parameters: JsonValue = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _build_result(request: ChooseSpeakerInput, record: SelectionRecord) -> ChooseSpeakerResult:
    names = {candidate.agent_id: candidate.name for candidate in request.candidates}
    speaker = names.get(record.agent_id, str(record.agent_id)) if record.agent_id else f"({record.outcome})"
    usage = Usage(
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        model_calls=record.model_calls,
    )
    return ChooseSpeakerResult(
        speaker=speaker,
        reason=record.reason,
        outcome=record.outcome,
        agent_id=record.agent_id,
        usage=usage,
        fallback_index=record.fallback,
        error=record.error or "",
    )

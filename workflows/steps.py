"""How each decision is carried out: which activity, on which queue, with which limits; and the event it leads to."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from activities.contracts import ActivityName, ContextLimits, model_task_queue
    from groups.decisions import (
        ApplyMembership,
        AskManager,
        CloseConversation,
        CloseRound,
        Decision,
        LoadConversation,
        RecordPosts,
        TakeTurn,
    )
    from groups.errors import brief
    from groups.events import (
        AnyEvent,
        ConversationEnded,
        ConversationLoaded,
        ManagerFinished,
        MembershipApplied,
        PostsRecorded,
        RoundClosed,
        SelectionFailed,
        SpeakerChosen,
        TurnCompleted,
    )
    from groups.group import Dynamic
    from groups.machine import apply
    from groups.roster import MemberRef
    from groups.rounds import termination_tokens
    from groups.state import STATE_PREVIEW_CHARS, ConversationState
    from groups.status import status_of
    from workflows.display import summary

_Result = TypeVar("_Result")

_DATABASE_TIMEOUT = timedelta(seconds=30)
_DATABASE_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
)
_MODEL_RETRY_MAXIMUM = timedelta(seconds=60)
_ACTIVITY_GRACE = timedelta(seconds=30)
"""What an activity has beyond its model calls, to read and to commit."""


async def carry_out(state: ConversationState, decision: Decision) -> AnyEvent:
    """Do what was decided in `state`, and say what has happened."""
    return await _STEPS[type(decision)](state, decision)


async def find_newcomer(who: str) -> MemberRef:
    """The agent of that id or unique name.

    Raises:
        ActivityError: there is none, as a `NotFound` application error.
    """
    return await _keep(ActivityName.FIND_NEWCOMER, contracts.FindNewcomer(who=who), MemberRef, f"who is {who}?")


async def _keep(name: ActivityName, argument: Any, result: type[_Result], line: str) -> _Result:
    answer: _Result = await workflow.execute_activity(
        name,
        argument,
        result_type=result,
        start_to_close_timeout=_DATABASE_TIMEOUT,
        retry_policy=_DATABASE_RETRY,
        summary=summary(line),
    )
    return answer


async def _model(
    state: ConversationState, name: ActivityName, argument: Any, result: type[_Result], line: str, calls: int = 1
) -> _Result:
    settings = state.settings
    answer: _Result = await workflow.execute_activity(
        name,
        argument,
        result_type=result,
        task_queue=model_task_queue(workflow.info().task_queue),
        start_to_close_timeout=timedelta(seconds=settings.turn_timeout_seconds * calls) + _ACTIVITY_GRACE,
        heartbeat_timeout=timedelta(seconds=settings.heartbeat_timeout_seconds),
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=settings.retry_initial_seconds),
            backoff_coefficient=2,
            maximum_interval=_MODEL_RETRY_MAXIMUM,
        ),
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        priority=Priority(fairness_key=state.group_id),
        summary=summary(line),
    )
    return answer


async def _load(state: ConversationState, decision: LoadConversation) -> ConversationLoaded:
    argument = contracts.LoadConversation(conversation_id=state.conversation_id, group=state.group)
    line = f"load {state.group}"
    loaded = await _keep(ActivityName.LOAD_CONVERSATION, argument, contracts.LoadedConversation, line)
    return ConversationLoaded(at=workflow.now(), **dict(loaded))


async def _apply_membership(state: ConversationState, decision: ApplyMembership) -> MembershipApplied:
    argument = contracts.ApplyMembership(
        conversation_id=state.conversation_id,
        changes=decision.changes,
        first_epoch=decision.first_epoch,
        roster=decision.roster,
    )
    line = ", ".join(change.headline() for change in decision.changes)
    await _keep(ActivityName.APPLY_MEMBERSHIP, argument, type(None), line)
    return MembershipApplied(at=workflow.now(), count=len(decision.changes))


async def _record_posts(state: ConversationState, decision: RecordPosts) -> PostsRecorded:
    argument = contracts.RecordPosts(conversation_id=state.conversation_id, posts=decision.posts)
    senders = ", ".join(dict.fromkeys(post.sender for post in decision.posts))
    line = f"{senders}: {decision.posts[0].text}" if len(decision.posts) == 1 else f"messages from {senders}"
    if not state.settings.preview_chars:
        line = f"messages from {senders}"
    recorded = await _keep(ActivityName.RECORD_POSTS, argument, contracts.RecordedPosts, line)
    return PostsRecorded(at=workflow.now(), count=len(decision.posts), last_seq=recorded.last_seq)


async def _ask_manager(
    state: ConversationState, decision: AskManager
) -> SpeakerChosen | SelectionFailed | ManagerFinished:
    rules = state.manager_config
    assert isinstance(rules, Dynamic)
    assert state.round is not None
    candidates = [member for member in state.roster.members if member.agent_id in decision.candidates]
    argument = contracts.ChooseSpeaker(
        conversation_id=state.conversation_id,
        round=state.round.number,
        turn=decision.turn,
        manager_id=rules.manager_agent_id,
        candidates=tuple(MemberRef(agent_id=one.agent_id, name=one.name) for one in candidates),
        context=_context(state),
        max_selection_attempts=rules.max_selection_attempts,
        model_attempts=state.settings.model_attempts,
        timeout_seconds=state.settings.turn_timeout_seconds,
    )
    line = f"turn {decision.turn} · who speaks?"
    try:
        choice = await _model(
            state,
            ActivityName.CHOOSE_SPEAKER,
            argument,
            contracts.SpeakerChoice,
            line,
            calls=rules.max_selection_attempts,
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        reason = f"the manager could not be asked: {_cause(error)}"
        return SelectionFailed(at=workflow.now(), candidates=decision.candidates, reason=reason)
    return _choice(decision, choice)


def _choice(decision: AskManager, choice: contracts.SpeakerChoice) -> SpeakerChosen | SelectionFailed | ManagerFinished:
    if choice.outcome == "finished":
        return ManagerFinished(at=workflow.now(), reason=choice.why, usage=choice.usage)
    if choice.outcome == "failed" or choice.agent_id is None:
        return SelectionFailed(at=workflow.now(), candidates=decision.candidates, reason=choice.why, usage=choice.usage)
    return SpeakerChosen(
        at=workflow.now(), agent_id=choice.agent_id, chosen_by="manager", reason=choice.why, usage=choice.usage
    )


async def _take_turn(state: ConversationState, decision: TakeTurn) -> TurnCompleted:
    work = _work(state, decision)
    speaker = decision.chosen.member.name
    line = f"turn {decision.turn} · {speaker} · {decision.chosen.reason}"
    try:
        result = await _model(state, ActivityName.TAKE_TURN, work, contracts.TurnResult, line)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        failed = contracts.RecordFailedTurn(**dict(work), error=brief(_cause(error)), attempts=_attempts(error))
        line = f"turn {decision.turn} · {speaker} could not speak"
        result = await _keep(ActivityName.RECORD_FAILED_TURN, failed, contracts.TurnResult, line)
    return _turn_completed(decision, result)


def _work(state: ConversationState, decision: TakeTurn) -> contracts.TakeTurn:
    settings = state.settings
    return contracts.TakeTurn(
        conversation_id=state.conversation_id,
        turn=decision.turn,
        round=state.rounds,
        speaker=decision.chosen.member,
        epoch=state.roster.epoch,
        seq=state.last_seq,
        chosen_by=decision.chosen.chosen_by,
        reason=decision.chosen.reason,
        tokens=termination_tokens(state),
        context=_context(state),
        preview_chars=settings.preview_chars,
        max_message_chars=settings.max_message_chars,
        model_attempts=settings.model_attempts,
        timeout_seconds=settings.turn_timeout_seconds,
    )


def _turn_completed(decision: TakeTurn, result: contracts.TurnResult) -> TurnCompleted:
    return TurnCompleted(
        at=workflow.now(),
        turn=decision.turn,
        speaker=decision.chosen.member,
        outcome=result.outcome,
        said=brief(result.said, STATE_PREVIEW_CHARS),
        seq=result.seq,
        chosen_by=decision.chosen.chosen_by,
        reason=decision.chosen.reason,
        tokens_said=result.tokens_said,
        usage=result.usage,
    )


async def _close_round(state: ConversationState, decision: CloseRound) -> RoundClosed:
    return RoundClosed(at=workflow.now(), reason=decision.reason, explanation=decision.explanation)


async def _close_conversation(state: ConversationState, decision: CloseConversation) -> ConversationEnded:
    event = ConversationEnded(at=workflow.now(), last_seq=state.last_seq)
    final = status_of(apply(state, event))
    argument = contracts.CloseConversation(
        conversation_id=state.conversation_id,
        stop_reason=decision.reason,
        final_status=final.model_dump(mode="json"),
    )
    line = f"close: {decision.reason}"
    closed = await _keep(ActivityName.CLOSE_CONVERSATION, argument, contracts.ClosedConversation, line)
    return event.model_copy(update={"at": workflow.now(), "last_seq": closed.last_seq})


def _context(state: ConversationState) -> ContextLimits:
    return ContextLimits(messages=state.settings.context_messages, tokens=state.settings.context_tokens)


def _attempts(error: ActivityError) -> int:
    details = error.cause.details if isinstance(error.cause, ApplicationError) else ()
    return int(details[0]) if details else 0


def _cause(error: ActivityError) -> str:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return cause.message
    if isinstance(cause, TimeoutError):
        return f"no sign of life in time ({cause.type.name if cause.type is not None else 'timeout'})"
    return str(cause or error)


_STEPS: dict[type[Decision], Callable[[ConversationState, Any], Coroutine[Any, Any, AnyEvent]]] = {
    LoadConversation: _load,
    ApplyMembership: _apply_membership,
    RecordPosts: _record_posts,
    AskManager: _ask_manager,
    TakeTurn: _take_turn,
    CloseRound: _close_round,
    CloseConversation: _close_conversation,
}

"""Execute each decision except a turn: call its activity and return the resulting event."""

from collections.abc import Callable, Coroutine
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from tertulia.core import activity_contracts
    from tertulia.core.activity_contracts import ActivityName, ContextLimits
    from tertulia.core.decisions import (
        AnnouncePhase,
        ApplyMembership,
        AskManager,
        CloseConversation,
        CloseRound,
        Decision,
        LoadConversation,
        LoadGroup,
        RecordPosts,
    )
    from tertulia.core.events import (
        AnyEvent,
        ConversationEnded,
        ConversationLoaded,
        GroupDeleted,
        GroupLoaded,
        GroupSnapshot,
        ManagerFinished,
        MembershipApplied,
        PhaseAnnounced,
        PostsRecorded,
        RoundClosed,
        SelectionFailed,
        SpeakerChosen,
    )
    from tertulia.core.group import DynamicConfig
    from tertulia.core.ids import OrganisationId
    from tertulia.core.phase_announcements import next_phase_change
    from tertulia.core.roster import MemberRef
    from tertulia.core.state import ConversationState
    from tertulia.core.state_machine import apply
    from tertulia.core.status import build_status
    from tertulia.workflows.activity_calls import call_database, call_model, describe_cause


async def execute(state: ConversationState, decision: Decision) -> AnyEvent:
    """Execute a decision that was made in `state`, and return the event that it leads to.

    Raises:
        ActivityError: the decision's activity failed with a non-retryable error, or was cancelled.
    """
    return await _EXECUTORS[type(decision)](state, decision)


async def find_newcomer(organisation_id: OrganisationId, agent: str) -> MemberRef:
    """Find the agent with this id or unique name.

    Raises:
        ActivityError: no such agent; its cause is a `NotFound` application error.
    """
    argument = activity_contracts.FindNewcomerInput(agent=agent, organisation_id=organisation_id)
    return await call_database(ActivityName.FIND_NEWCOMER, argument, MemberRef, f"find agent {agent}")


async def _load(state: ConversationState, decision: LoadConversation) -> ConversationLoaded:
    argument = activity_contracts.LoadConversationInput(
        conversation_id=state.conversation_id,
        group=state.group,
        organisation_id=state.organisation_id,
        fork=state.fork,
    )
    line = f"load {state.group}"
    loaded = await call_database(
        ActivityName.LOAD_CONVERSATION, argument, activity_contracts.LoadConversationResult, line
    )
    return ConversationLoaded(at=workflow.now(), **dict(loaded))


async def _load_group(state: ConversationState, decision: LoadGroup) -> GroupLoaded | GroupDeleted:
    argument = activity_contracts.LoadGroupInput(group_id=state.group_id, organisation_id=state.organisation_id)
    line = f"load revision {state.notified_revision} of the group"
    group = (await call_database(ActivityName.LOAD_GROUP, argument, activity_contracts.LoadGroupResult, line)).group
    if group is None:
        return GroupDeleted(at=workflow.now())
    return GroupLoaded(at=workflow.now(), **{name: getattr(group, name) for name in GroupSnapshot.model_fields})


async def _announce_phase(state: ConversationState, decision: AnnouncePhase) -> PhaseAnnounced:
    argument = activity_contracts.AnnouncePhaseInput(conversation_id=state.conversation_id, change=decision.change)
    line = f"{decision.change.phase}: {decision.change.reason}"
    await call_database(ActivityName.ANNOUNCE_PHASE, argument, type(None), line)
    return PhaseAnnounced(at=workflow.now(), change=decision.change)


async def _apply_membership(state: ConversationState, decision: ApplyMembership) -> MembershipApplied:
    argument = activity_contracts.ApplyMembershipInput(
        conversation_id=state.conversation_id,
        changes=decision.changes,
        first_epoch=decision.first_epoch,
        roster=decision.roster,
    )
    line = ", ".join(change.describe() for change in decision.changes)
    await call_database(ActivityName.APPLY_MEMBERSHIP, argument, type(None), line)
    return MembershipApplied(at=workflow.now(), count=len(decision.changes))


async def _record_posts(state: ConversationState, decision: RecordPosts) -> PostsRecorded:
    argument = activity_contracts.RecordPostsInput(
        conversation_id=state.conversation_id,
        posts=decision.posts,
        round=decision.round,
        round_start=decision.round_start,
    )
    senders = ", ".join(dict.fromkeys(post.sender for post in decision.posts))
    line = f"{senders}: {decision.posts[0].text}" if len(decision.posts) == 1 else f"messages from {senders}"
    # With previews off, no text of a message may enter the history, not even in a summary.
    if not state.settings.preview_chars:
        line = f"messages from {senders}"
    recorded = await call_database(ActivityName.RECORD_POSTS, argument, activity_contracts.RecordPostsResult, line)
    return PostsRecorded(
        at=workflow.now(),
        count=len(decision.posts),
        last_seq=recorded.last_seq,
        starts_round=decision.round_start is not None,
    )


async def _ask_manager(
    state: ConversationState, decision: AskManager
) -> SpeakerChosen | SelectionFailed | ManagerFinished:
    rules, settings = state.manager_config, state.settings
    assert isinstance(rules, DynamicConfig)
    assert state.round is not None
    argument = activity_contracts.ChooseSpeakerInput(
        conversation_id=state.conversation_id,
        round=state.round.number,
        turn=decision.turn,
        manager_id=decision.manager.agent_id,
        candidates=tuple(member.ref for member in state.roster.members if member.agent_id in decision.candidates),
        context=ContextLimits(messages=settings.context_messages, tokens=settings.context_tokens),
        max_selection_attempts=rules.max_selection_attempts,
        model_attempts=1 if decision.trial else settings.model_attempts,
        timeout_seconds=settings.turn_timeout_seconds,
        first_fallback_index=decision.first_fallback_index,
        use_fallbacks="fallback_model" in settings.failure_steps,
        model_override=settings.model,
    )
    name, calls = ActivityName.CHOOSE_SPEAKER, rules.max_selection_attempts
    line = f"turn {decision.turn} · {decision.manager.name} chooses the speaker"
    try:
        choice = await call_model(state, name, argument, activity_contracts.ChooseSpeakerResult, line, calls)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        choice = activity_contracts.ChooseSpeakerResult(
            speaker="(failed)", reason=describe_cause(error), outcome="failed"
        )
    return _selection_event(decision, choice, rules)


def _selection_event(
    decision: AskManager, choice: activity_contracts.ChooseSpeakerResult, rules: DynamicConfig
) -> SpeakerChosen | SelectionFailed | ManagerFinished:
    now, manager = workflow.now(), decision.manager
    if choice.outcome == "finished":
        return ManagerFinished(
            at=now,
            manager=manager,
            reason=choice.reason,
            usage=choice.usage,
            fallback_index=choice.fallback_index,
            error=choice.error,
        )
    if choice.outcome == "failed" or choice.agent_id is None:
        return SelectionFailed(
            at=now, manager=manager, candidates=decision.candidates, reason=choice.reason, usage=choice.usage
        )
    is_primary = manager.agent_id == rules.manager_agent_id
    chooser_note = "" if is_primary else f"chosen by {manager.name}"
    return SpeakerChosen(
        at=now,
        manager=manager,
        agent_id=choice.agent_id,
        chosen_by="manager" if is_primary else "fallback_manager",
        reason="; ".join(part for part in (choice.reason, chooser_note, decision.note) if part),
        usage=choice.usage,
        fallback_index=choice.fallback_index,
        error=choice.error,
    )


async def _close_round(state: ConversationState, decision: CloseRound) -> RoundClosed:
    current = state.round
    assert current is not None
    argument = activity_contracts.CloseRoundInput(
        conversation_id=state.conversation_id,
        round=current.number,
        turns=current.turns,
        seq=state.last_seq,
        usage=state.usage - current.usage_before,
        started_at=current.started_at,
        change=next_phase_change(state, "ready", decision.reason, decision.explanation, round=current.number),
    )
    line = f"end round {current.number}: {decision.reason}"
    await call_database(ActivityName.CLOSE_ROUND, argument, type(None), line)
    return RoundClosed(
        at=workflow.now(), reason=decision.reason, explanation=decision.explanation, closes=decision.closes
    )


async def _close_conversation(state: ConversationState, decision: CloseConversation) -> ConversationEnded:
    event = ConversationEnded(at=workflow.now(), last_seq=state.last_seq)
    final = build_status(apply(state, event))
    argument = activity_contracts.CloseConversationInput(
        conversation_id=state.conversation_id,
        change=next_phase_change(state, "closed", decision.reason, final.stop_explanation or ""),
        final_status=final.model_dump(mode="json"),
    )
    line = f"close: {decision.reason}"
    closed = await call_database(
        ActivityName.CLOSE_CONVERSATION, argument, activity_contracts.CloseConversationResult, line
    )
    return event.model_copy(update={"at": workflow.now(), "last_seq": closed.last_seq})


_EXECUTORS: dict[type[Decision], Callable[[ConversationState, Any], Coroutine[Any, Any, AnyEvent]]] = {
    LoadConversation: _load,
    LoadGroup: _load_group,
    AnnouncePhase: _announce_phase,
    ApplyMembership: _apply_membership,
    RecordPosts: _record_posts,
    AskManager: _ask_manager,
    CloseRound: _close_round,
    CloseConversation: _close_conversation,
}

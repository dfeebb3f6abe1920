"""The state machine of a conversation: `decide` returns the next decision, `apply` the state after an event.

Invariant: both are pure functions. The workflow is a loop of decide, execute, apply; a changed rule in either needs a
new `RULES_VERSION`, because running conversations are replayed.
"""

from functools import singledispatch

from tertulia.core.decisions import (
    ApplyMembership,
    AskManager,
    CloseConversation,
    Decision,
    Finish,
    LoadConversation,
    LoadGroup,
    RecordPosts,
    TakeTurn,
    WaitForInput,
)
from tertulia.core.events import (
    AnyEvent,
    ConversationEnded,
    ConversationLoaded,
    GroupDeleted,
    GroupLoaded,
    ManagerFinished,
    MembershipApplied,
    PhaseAnnounced,
    PostsRecorded,
    ProbeDue,
    RoundClosed,
    SelectionFailed,
    SpeakerChosen,
    TurnCompleted,
)
from tertulia.core.failover import apply_due_transitions, record_manager_result, start_probe
from tertulia.core.group_sync import build_baseline, merge_group_changes
from tertulia.core.health import TurnTime
from tertulia.core.pending_changes import expected_roster, roster_after
from tertulia.core.phase_announcements import next_announcement, next_phase_change, record_announcement
from tertulia.core.roster import Manager, Member, Roster
from tertulia.core.round_rules import build_take_turn, decide_in_round
from tertulia.core.selection import Floor, find_seat
from tertulia.core.state import ConversationState, NextSpeaker, Phase, Round, StopRequest
from tertulia.core.turn_recording import record_turn


def decide(state: ConversationState) -> Decision:
    """Return the next decision."""
    decision = _next_decision(state)
    return next_announcement(state, decision) or decision


def _next_decision(state: ConversationState) -> Decision:
    if state.phase == "initializing":
        return LoadConversation()
    if state.phase == "closed":
        return Finish()
    # A choice is executed before anything else: it is recorded with its reason, and the manager's call is paid.
    if state.round and state.round.chosen:
        return build_take_turn(state, state.round.chosen)
    # Before the pending changes, because a changed group adds to them.
    if state.baseline and state.notified_revision > state.baseline.revision and not state.stop:
        return LoadGroup()
    if state.pending_changes:
        return ApplyMembership(
            changes=state.pending_changes, first_epoch=state.roster.epoch + 1, roster=expected_roster(state)
        )
    # Accepted messages are recorded before the conversation closes.
    if state.stop:
        return _record_pending_posts(state) or CloseConversation(reason=state.stop.reason)
    if state.paused_because is not None:
        return WaitForInput(phase="paused")
    return decide_in_round(state, state.round) if state.round else _decide_between_rounds(state)


def _decide_between_rounds(state: ConversationState) -> Decision:
    if not state.pending_posts:
        if state.close_after_round and state.rounds:
            return CloseConversation(reason=state.stop_reason or "round_ended")
        return WaitForInput(phase="ready")
    taken = 1 if state.settings.intake == "queue" else len(state.pending_posts)
    return RecordPosts(
        posts=state.pending_posts[:taken],
        first_seq=state.last_seq + 1,
        round=state.rounds + 1,
        round_start=next_phase_change(state, "executing", round=state.rounds + 1),
    )


def _record_pending_posts(state: ConversationState) -> RecordPosts | None:
    if not state.pending_posts:
        return None
    number = state.round.number if state.round else None
    return RecordPosts(posts=state.pending_posts, first_seq=state.last_seq + 1, round=number)


_PHASES: dict[type[Decision], Phase] = {
    LoadConversation: "loading",
    AskManager: "choosing_speaker",
    TakeTurn: "executing",
    RecordPosts: "recording",
    CloseConversation: "terminating",
}


def start_decision(state: ConversationState, decision: Decision) -> ConversationState:
    """Return the state while `decision` is executed, with its phase and, for a turn, the speaker."""
    phase = decision.phase if isinstance(decision, WaitForInput) else _PHASES.get(type(decision), state.phase)
    current = state.round
    # Inside a round the steps between turns are no phase of their own for readers.
    if phase == "ready" and current:
        phase = "executing"
    if isinstance(decision, TakeTurn) and current and not current.chosen:
        current = current.model_copy(update={"chosen": decision.chosen})
    if phase == state.phase and current is state.round:
        return state
    return state.model_copy(update={"phase": phase, "round": current})


def cancel(state: ConversationState) -> ConversationState:
    """Return the state after a cancellation of the workflow: the conversation closes without the current turn."""
    stop = state.stop or StopRequest(reason="cancelled", explanation="the workflow was cancelled")
    current = state.round.model_copy(update={"chosen": None}) if state.round else None
    # Loading is repeated first: until it is done, the database has no conversation to close.
    phase: Phase = "initializing" if state.phase == "loading" else state.phase
    return state.model_copy(update={"stop": stop, "round": current, "phase": phase})


def apply(state: ConversationState, event: AnyEvent) -> ConversationState:
    """Return the state after `event` and the automatic transitions that it makes due."""
    return apply_due_transitions(_apply_event(event, state.model_copy(update={"clock": event.at, "phase": "ready"})))


@singledispatch
def _apply_event(event: AnyEvent, state: ConversationState) -> ConversationState:
    raise TypeError(f"no such event: {type(event).__name__}")


@_apply_event.register
def _(event: ConversationLoaded, state: ConversationState) -> ConversationState:
    reserved = {standby.agent_id: standby.stands_in_for for standby in event.standby}
    members = tuple(
        Member(
            **member.model_dump(),
            state="standby" if member.agent_id in reserved else "active",
            reserved_for=reserved.get(member.agent_id),
        )
        for member in (event.members if event.roster is None else event.roster)
    )
    if origin := event.fork_origin:
        update = {"last_seq": origin.last_seq, "rounds": origin.rounds, "usage": origin.usage}
        state = state.model_copy(update={**update, "floor": Floor(turn=origin.last_turn)})
    managers = tuple(Manager(**manager.model_dump()) for manager in event.managers)
    return state.model_copy(
        update={
            "group_id": event.group_id,
            "group_name": event.group_name,
            "description": event.description,
            "manager_config": event.manager_config,
            "settings": event.settings.model_copy(update=_start_settings(state)),
            "roster": Roster(epoch=1, members=members, managers=managers),
            "baseline": build_baseline(event),
        }
    )


def _start_settings(state: ConversationState) -> dict[str, object]:
    """Return the settings given at the start, which take precedence over the group's."""
    return {"model": state.settings.model} if state.settings.model is not None else {}


@_apply_event.register
def _(event: GroupLoaded, state: ConversationState) -> ConversationState:
    return merge_group_changes(state, event)


@_apply_event.register
def _(event: GroupDeleted, state: ConversationState) -> ConversationState:
    assert state.baseline is not None
    return state.model_copy(
        update={"baseline": state.baseline.model_copy(update={"revision": state.notified_revision})}
    )


@_apply_event.register
def _(event: PhaseAnnounced, state: ConversationState) -> ConversationState:
    return record_announcement(state, event.change.phase)


@_apply_event.register
def _(event: MembershipApplied, state: ConversationState) -> ConversationState:
    done, left = state.pending_changes[: event.count], state.pending_changes[event.count :]
    return state.model_copy(update={"roster": roster_after(state, done), "pending_changes": left})


@_apply_event.register
def _(event: PostsRecorded, state: ConversationState) -> ConversationState:
    update: dict[str, object] = {"pending_posts": state.pending_posts[event.count :], "last_seq": event.last_seq}
    if event.starts_round:
        update["rounds"] = state.rounds + 1
        update["round"] = Round(number=state.rounds + 1, started_at=event.at, usage_before=state.usage)
        update["stop_reason"] = update["stop_explanation"] = None
        state = record_announcement(state, "executing")
    return state.model_copy(update=update)


@_apply_event.register
def _(event: SpeakerChosen, state: ConversationState) -> ConversationState:
    assert state.round is not None
    seat = find_seat(state.roster, event.agent_id)
    chosen = NextSpeaker(
        member=state.roster.get(event.agent_id).ref,
        chosen_by=event.chosen_by,
        reason=event.reason,
        in_place_of=seat.owner if seat and seat.owner != event.agent_id else None,
    )
    current = state.round.model_copy(update={"chosen": chosen})
    state = state.model_copy(update={"round": current, "usage": state.usage + event.usage})
    return _record_manager_answer(state, event)


@_apply_event.register
def _(event: SelectionFailed, state: ConversationState) -> ConversationState:
    assert state.round is not None
    error = f"{event.manager.name} did not choose: {event.reason}"
    update = {
        "managers_tried": (*state.round.managers_tried, event.manager.agent_id),
        "managers_error": "; ".join(filter(None, (state.round.managers_error, error))),
    }
    current = state.round.model_copy(update=update)
    state = state.model_copy(update={"round": current, "usage": state.usage + event.usage})
    return record_manager_result(state, event.manager, _turn_time(state, event), failed=event.reason)


@_apply_event.register
def _(event: ManagerFinished, state: ConversationState) -> ConversationState:
    assert state.round is not None
    current = state.round.model_copy(update={"finished_because": event.reason})
    state = state.model_copy(update={"round": current, "usage": state.usage + event.usage})
    return _record_manager_answer(state, event)


def _record_manager_answer(state: ConversationState, event: SpeakerChosen | ManagerFinished) -> ConversationState:
    return record_manager_result(
        state, event.manager, _turn_time(state, event), fallback_index=event.fallback_index, error=event.error
    )


@_apply_event.register
def _(event: TurnCompleted, state: ConversationState) -> ConversationState:
    return record_turn(state, event)


@_apply_event.register
def _(event: ProbeDue, state: ConversationState) -> ConversationState:
    return start_probe(state, _turn_time(state, event))


@_apply_event.register
def _(event: RoundClosed, state: ConversationState) -> ConversationState:
    assert state.round is not None
    seconds = (event.at - state.round.started_at).total_seconds()
    stop = state.stop
    if event.closes and not stop:
        stop = StopRequest(reason=event.reason, explanation=event.explanation)
    return record_announcement(state, "ready").model_copy(
        update={
            "round": None,
            "stop": stop,
            "stop_reason": event.reason,
            "stop_explanation": event.explanation,
            "seconds": state.seconds + seconds,
        }
    )


@_apply_event.register
def _(event: ConversationEnded, state: ConversationState) -> ConversationState:
    stop = state.stop or StopRequest(
        reason=state.stop_reason or "round_ended", explanation=state.stop_explanation or "the round ended"
    )
    return record_announcement(state, "closed").model_copy(
        update={
            "phase": "closed",
            "round": None,
            "last_seq": event.last_seq,
            "stop_reason": stop.reason,
            "stop_explanation": stop.explanation,
        }
    )


def _turn_time(state: ConversationState, event: AnyEvent) -> TurnTime:
    return TurnTime(turn=state.floor.turn, at=event.at)

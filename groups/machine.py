"""The conversation as a state machine: `decide` says what is next, `apply` takes in what has happened.

Law: both are functions of their arguments alone. The workflow is a loop of decide, carry out, apply.
"""

from functools import singledispatch

from groups.decisions import (
    ApplyMembership,
    AskManager,
    CloseConversation,
    CloseRound,
    Decision,
    Finished,
    LoadConversation,
    RecordPosts,
    TakeTurn,
    WaitForInput,
)
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
    Usage,
)
from groups.ids import AgentId
from groups.roster import AnyRosterChange, Member, MemberRef, Roster, changed_roster
from groups.rounds import why_round_ends
from groups.selection import Ask, ChosenBy, Nobody, Speak, least_recently_heard, select
from groups.state import RECENT_TURNS, Chosen, ConversationState, Phase, Round, StopRequest, TurnBrief

NO_PARTICIPANTS = "no_available_participants"


def decide(state: ConversationState) -> Decision:
    """What is to be done next in this state."""
    if state.phase == "initializing":
        return LoadConversation()
    if state.phase == "closed":
        return Finished()
    if state.round and state.round.chosen:
        return TakeTurn(turn=state.floor.turn + 1, chosen=state.round.chosen)
    if state.pending_changes:
        return _apply_membership(state)
    if state.stop:
        return _record_all(state) or CloseConversation(reason=state.stop.reason)
    if state.paused_because is not None:
        return WaitForInput(phase="paused")
    return _in_round(state, state.round) if state.round else _between_rounds(state)


def _between_rounds(state: ConversationState) -> Decision:
    if not state.pending_posts:
        if state.close_after_round and state.rounds:
            return CloseConversation(reason=state.stop_reason or "round_ended")
        return WaitForInput(phase="ready")
    taken = 1 if state.settings.intake == "queue" else len(state.pending_posts)
    return RecordPosts(posts=state.pending_posts[:taken], first_seq=state.last_seq + 1)


def _in_round(state: ConversationState, current: Round) -> Decision:
    if met := why_round_ends(state, current):
        return CloseRound(reason=met.reason, explanation=met.explanation)
    if state.settings.intake == "interject" and (record := _record_all(state)):
        return record
    match select(state.roster, state.floor, state.manager_config):
        case Speak(agent_id=agent_id, chosen_by=chosen_by, reason=reason):
            chosen = _chosen(state, agent_id, chosen_by, reason)
            return TakeTurn(turn=state.floor.turn + 1, chosen=chosen)
        case Ask(candidates=candidates):
            return AskManager(turn=state.floor.turn + 1, candidates=candidates)
        case Nobody():
            return WaitForInput(phase="paused")


def _apply_membership(state: ConversationState) -> ApplyMembership:
    return ApplyMembership(
        changes=state.pending_changes,
        first_epoch=state.roster.epoch + 1,
        roster=expected_roster(state),
    )


def _record_all(state: ConversationState) -> RecordPosts | None:
    if not state.pending_posts:
        return None
    return RecordPosts(posts=state.pending_posts, first_seq=state.last_seq + 1)


def _chosen(state: ConversationState, agent_id: AgentId, chosen_by: ChosenBy, reason: str) -> Chosen:
    return Chosen(member=_ref(state.roster.get(agent_id)), chosen_by=chosen_by, reason=reason)


def _ref(member: Member) -> MemberRef:
    return MemberRef(agent_id=member.agent_id, name=member.name)


def expected_roster(state: ConversationState) -> Roster:
    """The roster as it will be once every pending change is applied: what a further command is checked against."""
    return _after(state.roster, state.pending_changes, state.floor.turn)


def _after(roster: Roster, changes: tuple[AnyRosterChange, ...], turn: int) -> Roster:
    for change in changes:
        roster = changed_roster(roster, change, turn)
    return roster


_PHASES: dict[type[Decision], Phase] = {
    LoadConversation: "loading",
    AskManager: "choosing_speaker",
    TakeTurn: "executing",
    RecordPosts: "recording",
    CloseConversation: "terminating",
}


def begin(state: ConversationState, decision: Decision) -> ConversationState:
    """The state while `decision` is carried out: its phase, and the turn's speaker for those who look in."""
    phase = decision.phase if isinstance(decision, WaitForInput) else _PHASES.get(type(decision), state.phase)
    current = state.round
    if isinstance(decision, TakeTurn) and current and not current.chosen:
        current = current.model_copy(update={"chosen": decision.chosen})
    if phase == state.phase and current is state.round:
        return state
    return state.model_copy(update={"phase": phase, "round": current})


def cancel(state: ConversationState) -> ConversationState:
    """The state when the workflow was cancelled from outside: it closes in order, without the turn under way.

    One that was loading is loaded first: until then the database has no conversation that could be closed.
    """
    stop = state.stop or StopRequest(reason="cancelled", explanation="the workflow was cancelled")
    current = state.round.model_copy(update={"chosen": None}) if state.round else None
    phase: Phase = "initializing" if state.phase == "loading" else state.phase
    return state.model_copy(update={"stop": stop, "round": current, "phase": phase})


def apply(state: ConversationState, event: AnyEvent) -> ConversationState:
    """The state after `event`."""
    return _applied(event, state.model_copy(update={"clock": event.at, "phase": "ready"}))


@singledispatch
def _applied(event: AnyEvent, state: ConversationState) -> ConversationState:
    raise TypeError(f"no such event: {type(event).__name__}")


@_applied.register
def _(event: ConversationLoaded, state: ConversationState) -> ConversationState:
    members = tuple(Member(agent_id=member.agent_id, name=member.name) for member in event.members)
    return state.model_copy(
        update={
            "group_id": event.group_id,
            "group_name": event.group_name,
            "description": event.description,
            "manager_config": event.manager_config,
            "settings": event.settings,
            "roster": Roster(epoch=1, members=members),
        }
    )


@_applied.register
def _(event: MembershipApplied, state: ConversationState) -> ConversationState:
    done, left = state.pending_changes[: event.count], state.pending_changes[event.count :]
    roster = _after(state.roster, done, state.floor.turn)
    return state.model_copy(update={"roster": roster, "pending_changes": left})


@_applied.register
def _(event: PostsRecorded, state: ConversationState) -> ConversationState:
    update: dict[str, object] = {"pending_posts": state.pending_posts[event.count :], "last_seq": event.last_seq}
    if state.round is None and state.stop is None:
        update["rounds"] = state.rounds + 1
        update["round"] = Round(number=state.rounds + 1, started_at=event.at, usage_before=state.usage)
        update["stop_reason"] = update["stop_explanation"] = None
    return state.model_copy(update=update)


@_applied.register
def _(event: SpeakerChosen, state: ConversationState) -> ConversationState:
    return _with_choice(state, event.agent_id, event.chosen_by, event.reason, event.usage)


@_applied.register
def _(event: SelectionFailed, state: ConversationState) -> ConversationState:
    speaker = least_recently_heard(state.roster, event.candidates)
    if speaker is None:
        return state.model_copy(update={"usage": state.usage + event.usage})
    name = state.roster.get(speaker).name
    reason = f"{event.reason}; {name} is the least recently heard"
    return _with_choice(state, speaker, "fallback", reason, event.usage)


def _with_choice(
    state: ConversationState, agent_id: AgentId, chosen_by: ChosenBy, reason: str, usage: Usage
) -> ConversationState:
    assert state.round is not None
    chosen = _chosen(state, agent_id, chosen_by, reason)
    current = state.round.model_copy(update={"chosen": chosen})
    return state.model_copy(update={"round": current, "usage": state.usage + usage})


@_applied.register
def _(event: ManagerFinished, state: ConversationState) -> ConversationState:
    assert state.round is not None
    current = state.round.model_copy(update={"finished_because": event.reason})
    return state.model_copy(update={"round": current, "usage": state.usage + event.usage})


@_applied.register
def _(event: TurnCompleted, state: ConversationState) -> ConversationState:
    assert state.round is not None
    speaker = event.speaker.agent_id
    roster = state.roster.with_turn(speaker, event.turn)
    current = _round_after(state.round, event)
    brief = TurnBrief(
        turn=event.turn,
        speaker=event.speaker.name,
        outcome=event.outcome,
        chosen_by=event.chosen_by,
        reason=event.reason,
        said=event.said,
    )
    all_failed = current.failures >= max(len(roster.active()), 1)
    return state.model_copy(
        update={
            "roster": roster,
            "floor": state.floor.after(speaker, roster),
            "round": current.model_copy(update={"failures": 0}) if all_failed else current,
            "last_seq": event.seq,
            "usage": state.usage + event.usage,
            "recent_turns": (*state.recent_turns, brief)[-RECENT_TURNS:],
            "paused_because": NO_PARTICIPANTS if all_failed else state.paused_because,
        }
    )


def _round_after(current: Round, event: TurnCompleted) -> Round:
    said = tuple(dict.fromkeys((*current.tokens_said, *event.tokens_said)))
    return current.model_copy(
        update={
            "turns": current.turns + 1,
            "tokens_said": said,
            "quiet": current.quiet + 1 if event.outcome == "passed" else 0,
            "failures": current.failures + 1 if event.outcome == "failed" else 0,
            "chosen": None,
        }
    )


@_applied.register
def _(event: RoundClosed, state: ConversationState) -> ConversationState:
    return state.model_copy(update={"round": None, "stop_reason": event.reason, "stop_explanation": event.explanation})


@_applied.register
def _(event: ConversationEnded, state: ConversationState) -> ConversationState:
    stop = state.stop or StopRequest(
        reason=state.stop_reason or "round_ended", explanation=state.stop_explanation or "the round ended"
    )
    return state.model_copy(
        update={
            "phase": "closed",
            "round": None,
            "last_seq": event.last_seq,
            "stop_reason": stop.reason,
            "stop_explanation": stop.explanation,
        }
    )

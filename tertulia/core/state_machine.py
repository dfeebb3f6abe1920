"""The conversation as a state machine: `decide` says what is next, `apply` takes in what has happened.

Law: both are functions of their arguments alone. The workflow is a loop of decide, carry out, apply.
"""

from functools import singledispatch

from tertulia.core.decisions import (
    ApplyMembership,
    AskManager,
    CloseConversation,
    Decision,
    Finished,
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
    GroupGone,
    GroupRead,
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
from tertulia.core.failover import all_isolated, all_on_probation, attended, manager_fared, member_fared, probed
from tertulia.core.group_sync import base_of, reconciled
from tertulia.core.health import Moment
from tertulia.core.ids import AgentId
from tertulia.core.pending_changes import expected_roster, roster_after
from tertulia.core.phase_announcements import announced, announcement, next_phase
from tertulia.core.roster import Manager, Member, Roster
from tertulia.core.round_rules import next_in_round, present, turn_of
from tertulia.core.selection import Floor, seat_of
from tertulia.core.state import RECENT_TURNS, Chosen, ConversationState, Phase, Round, StopRequest, TurnBrief


def decide(state: ConversationState) -> Decision:
    """What is to be done next in this state."""
    decision = _due(state)
    return announcement(state, decision) or decision


def _due(state: ConversationState) -> Decision:
    if state.phase == "initializing":
        return LoadConversation()
    if state.phase == "closed":
        return Finished()
    if state.round and state.round.chosen:
        return turn_of(state, state.round.chosen)
    if state.base and state.told_revision > state.base.revision and not state.stop:
        return LoadGroup()
    if state.pending_changes:
        return ApplyMembership(
            changes=state.pending_changes, first_epoch=state.roster.epoch + 1, roster=expected_roster(state)
        )
    if state.stop:
        return _record_all(state) or CloseConversation(reason=state.stop.reason)
    if state.paused_because is not None:
        return WaitForInput(phase="paused")
    return next_in_round(state, state.round) if state.round else _between_rounds(state)


def _between_rounds(state: ConversationState) -> Decision:
    if not state.pending_posts:
        if state.close_after_round and state.rounds:
            return CloseConversation(reason=state.stop_reason or "round_ended")
        return WaitForInput(phase="ready")
    taken = 1 if state.settings.intake == "queue" else len(state.pending_posts)
    return RecordPosts(
        posts=state.pending_posts[:taken],
        first_seq=state.last_seq + 1,
        round=state.rounds + 1,
        begins=next_phase(state, "executing", round=state.rounds + 1),
    )


def _record_all(state: ConversationState) -> RecordPosts | None:
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


def begin(state: ConversationState, decision: Decision) -> ConversationState:
    """The state while `decision` is carried out: its phase, and the turn's speaker for those who look in."""
    phase = decision.phase if isinstance(decision, WaitForInput) else _PHASES.get(type(decision), state.phase)
    current = state.round
    if phase == "ready" and current:
        phase = "executing"
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
    """The state after `event`, with what is due by itself then."""
    return attended(_applied(event, state.model_copy(update={"clock": event.at, "phase": "ready"})))


@singledispatch
def _applied(event: AnyEvent, state: ConversationState) -> ConversationState:
    raise TypeError(f"no such event: {type(event).__name__}")


@_applied.register
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
    if begun := event.begun:
        update = {"last_seq": begun.last_seq, "rounds": begun.rounds, "usage": begun.usage}
        state = state.model_copy(update={**update, "floor": Floor(turn=begun.last_turn)})
    managers = tuple(Manager(**manager.model_dump()) for manager in event.managers)
    return state.model_copy(
        update={
            "group_id": event.group_id,
            "group_name": event.group_name,
            "description": event.description,
            "manager_config": event.manager_config,
            "settings": event.settings.model_copy(update=_own_settings(state)),
            "roster": Roster(epoch=1, members=members, managers=managers),
            "base": base_of(event),
        }
    )


def _own_settings(state: ConversationState) -> dict[str, object]:
    """What the starter wants otherwise than the group."""
    return {"model": state.settings.model} if state.settings.model is not None else {}


@_applied.register
def _(event: GroupRead, state: ConversationState) -> ConversationState:
    return reconciled(state, event)


@_applied.register
def _(event: GroupGone, state: ConversationState) -> ConversationState:
    assert state.base is not None
    return state.model_copy(update={"base": state.base.model_copy(update={"revision": state.told_revision})})


@_applied.register
def _(event: PhaseAnnounced, state: ConversationState) -> ConversationState:
    return announced(state, event.change.phase)


@_applied.register
def _(event: MembershipApplied, state: ConversationState) -> ConversationState:
    done, left = state.pending_changes[: event.count], state.pending_changes[event.count :]
    return state.model_copy(update={"roster": roster_after(state, done), "pending_changes": left})


@_applied.register
def _(event: PostsRecorded, state: ConversationState) -> ConversationState:
    update: dict[str, object] = {"pending_posts": state.pending_posts[event.count :], "last_seq": event.last_seq}
    if event.begins:
        update["rounds"] = state.rounds + 1
        update["round"] = Round(number=state.rounds + 1, started_at=event.at, usage_before=state.usage)
        update["stop_reason"] = update["stop_explanation"] = None
        state = announced(state, "executing")
    return state.model_copy(update=update)


@_applied.register
def _(event: SpeakerChosen, state: ConversationState) -> ConversationState:
    assert state.round is not None
    seat = seat_of(state.roster, event.agent_id)
    chosen = Chosen(
        member=state.roster.get(event.agent_id).ref,
        chosen_by=event.chosen_by,
        reason=event.reason,
        in_place_of=seat.owner if seat and seat.owner != event.agent_id else None,
    )
    current = state.round.model_copy(update={"chosen": chosen})
    state = state.model_copy(update={"round": current, "usage": state.usage + event.usage})
    return _manager_answered(state, event)


@_applied.register
def _(event: SelectionFailed, state: ConversationState) -> ConversationState:
    assert state.round is not None
    trouble = f"{event.manager.name} did not choose: {event.reason}"
    update = {
        "managers_tried": (*state.round.managers_tried, event.manager.agent_id),
        "managers_trouble": "; ".join(filter(None, (state.round.managers_trouble, trouble))),
    }
    current = state.round.model_copy(update=update)
    state = state.model_copy(update={"round": current, "usage": state.usage + event.usage})
    return manager_fared(state, event.manager, _moment(state, event), failed=event.reason)


@_applied.register
def _(event: ManagerFinished, state: ConversationState) -> ConversationState:
    assert state.round is not None
    current = state.round.model_copy(update={"finished_because": event.reason})
    state = state.model_copy(update={"round": current, "usage": state.usage + event.usage})
    return _manager_answered(state, event)


def _manager_answered(state: ConversationState, event: SpeakerChosen | ManagerFinished) -> ConversationState:
    return manager_fared(state, event.manager, _moment(state, event), model=event.model, trouble=event.trouble)


@_applied.register
def _(event: TurnCompleted, state: ConversationState) -> ConversationState:
    current = state.round
    assert current is not None
    chosen = current.chosen or Chosen(member=event.speaker, chosen_by=event.chosen_by, reason=event.reason)
    speaker = event.speaker.agent_id
    roster = state.roster.with_turn(
        speaker, event.turn, event.usage, event.seconds, last_word=event.chosen_by == "conclusion"
    )
    lap = state.floor.lap
    state = state.model_copy(
        update={
            "roster": roster,
            "floor": state.floor.after(
                speaker, [one.agent_id for one in present(state)], seat=_seat(state, event, chosen)
            ),
            "last_seq": event.seq,
            "usage": state.usage + event.usage,
            "recent_turns": (*state.recent_turns, _brief(event))[-RECENT_TURNS:],
        }
    )
    return _fared(state, event, chosen, current, lap)


def _seat(state: ConversationState, event: TurnCompleted, chosen: Chosen) -> AgentId | None:
    """Whose seat has had its turn: not that of one on probation in vain, while nobody else could speak; nor that of
    a speaker whose words were dropped or who concludes; nor, once more, that of one for whom a substitute spoke."""
    if chosen.chosen_by in ("standby", "conclusion") or event.outcome in ("discarded", "cancelled"):
        return None
    if event.outcome == "failed" and state.outage:
        return None
    return chosen.in_place_of or chosen.member.agent_id


def _fared(
    state: ConversationState, event: TurnCompleted, chosen: Chosen, before: Round, lap_before: tuple[AgentId, ...]
) -> ConversationState:
    """What the turn means for the round, and for the health of its speaker and of everybody."""
    moment = _moment(state, event)
    was_outage = state.outage is not None
    state = member_fared(state, event)
    current = _round_after(before, event, chosen)
    if event.outcome == "failed" and not before.failed:
        current = current.model_copy(update={"lap_before": lap_before})
    if event.outcome == "failed" and chosen.chosen_by != "conclusion":
        current = _after_failure(state, current, chosen)
        if current.vacant is None and all(seat.owner in current.failed for seat in expected_roster(state).seats()):
            state = all_isolated(state, moment)
            state = state.model_copy(update={"floor": state.floor.model_copy(update={"lap": current.lap_before})})
            current = current.model_copy(update={"turns": current.turns - current.skipped, "skipped": 0, "failed": ()})
    elif was_outage and event.outcome in ("spoke", "passed"):
        state = all_on_probation(state, moment, f"{event.speaker.name} answers again")
    return state.model_copy(update={"round": current})


def _round_after(current: Round, event: TurnCompleted, chosen: Chosen) -> Round:
    said = tuple(dict.fromkeys((*current.tokens_said, *event.tokens_said)))
    update: dict[str, object] = {
        "tokens_said": said,
        "chosen": None,
        "vacant": None,
        "managers_tried": (),
        "managers_trouble": "",
        "concluded": current.concluded or chosen.closing,
    }
    if event.outcome in ("spoke", "passed") and chosen.chosen_by != "conclusion":
        quiet = current.quiet + 1 if event.outcome == "passed" else 0
        update |= {"turns": current.turns + 1, "quiet": quiet, "failed": (), "skipped": 0}
    return current.model_copy(update=update)


def _after_failure(state: ConversationState, current: Round, chosen: Chosen) -> Round:
    """A stand-in takes the turn at once, if there is one. If not, the turn is skipped, and counts unless its seat is
    lost with it: then the round has one turn less to go."""
    roster = expected_roster(state)
    owner = chosen.in_place_of or chosen.member.agent_id
    current = current.model_copy(update={"failed": tuple(dict.fromkeys((*current.failed, owner)))})
    substitute = roster.stand_in_of(owner) or roster.free_standby(owner)
    if chosen.chosen_by != "standby" and "standby" in state.settings.failure_steps and substitute:
        if substitute.agent_id != chosen.member.agent_id:
            return current.model_copy(update={"vacant": owner})
    update: dict[str, object] = {"quiet": 0}
    if any(seat.owner == owner for seat in roster.seats()):
        update |= {"turns": current.turns + 1, "skipped": current.skipped + 1}
    return current.model_copy(update=update)


@_applied.register
def _(event: ProbeDue, state: ConversationState) -> ConversationState:
    return probed(state, _moment(state, event))


@_applied.register
def _(event: RoundClosed, state: ConversationState) -> ConversationState:
    assert state.round is not None
    seconds = (event.at - state.round.started_at).total_seconds()
    stop = state.stop
    if event.closes and not stop:
        stop = StopRequest(reason=event.reason, explanation=event.explanation)
    return announced(state, "ready").model_copy(
        update={
            "round": None,
            "stop": stop,
            "stop_reason": event.reason,
            "stop_explanation": event.explanation,
            "seconds": state.seconds + seconds,
        }
    )


@_applied.register
def _(event: ConversationEnded, state: ConversationState) -> ConversationState:
    stop = state.stop or StopRequest(
        reason=state.stop_reason or "round_ended", explanation=state.stop_explanation or "the round ended"
    )
    return announced(state, "closed").model_copy(
        update={
            "phase": "closed",
            "round": None,
            "last_seq": event.last_seq,
            "stop_reason": stop.reason,
            "stop_explanation": stop.explanation,
        }
    )


def _moment(state: ConversationState, event: AnyEvent) -> Moment:
    return Moment(turn=state.floor.turn, at=event.at)


def _brief(event: TurnCompleted) -> TurnBrief:
    return TurnBrief(
        turn=event.turn,
        speaker=event.speaker.name,
        outcome=event.outcome,
        chosen_by=event.chosen_by,
        reason=event.reason,
        said=event.said,
        trouble=event.trouble,
    )

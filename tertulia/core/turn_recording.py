"""Apply completed turns to the state.

Invariant: only turns whose speaker spoke or passed reset the failures of a round; a concluding turn counts for no seat.
"""

from tertulia.core.events import TurnCompleted
from tertulia.core.failover import isolate_all_members, record_member_result, start_probation_for_all
from tertulia.core.health import TurnTime
from tertulia.core.ids import AgentId
from tertulia.core.pending_changes import expected_roster
from tertulia.core.round_rules import seated_members
from tertulia.core.state import RECENT_TURNS, ConversationState, NextSpeaker, Round, TurnSummary


def record_turn(state: ConversationState, event: TurnCompleted) -> ConversationState:
    """Apply a completed turn to the roster's counters, the floor, the round, usage and health."""
    current = state.round
    assert current is not None
    chosen = current.chosen or NextSpeaker(member=event.speaker, chosen_by=event.chosen_by, reason=event.reason)
    speaker = event.speaker.agent_id
    roster = state.roster.record_turn(
        speaker, event.turn, event.usage, event.seconds, concludes=event.chosen_by == "conclusion"
    )
    lap = state.floor.lap
    state = state.model_copy(
        update={
            "roster": roster,
            "floor": state.floor.record_turn(
                speaker, [member.agent_id for member in seated_members(state)], seat=_served_seat(state, event, chosen)
            ),
            "last_seq": event.seq,
            "usage": state.usage + event.usage,
            "recent_turns": (*state.recent_turns, _summarise(event))[-RECENT_TURNS:],
        }
    )
    return _record_turn_result(state, event, chosen, current, lap)


def _served_seat(state: ConversationState, event: TurnCompleted, chosen: NextSpeaker) -> AgentId | None:
    """Return the owner of the seat that the turn serves; None = the turn serves no seat."""
    # The failed turn that a member on standby repeats has served the seat already; a conclusion is not part of the
    # rotation; a message that was dropped does not count.
    if chosen.chosen_by in ("standby", "conclusion") or event.outcome in ("discarded", "cancelled"):
        return None
    # A failed probe during an outage does not use up the seat's turn.
    if event.outcome == "failed" and state.outage:
        return None
    return chosen.in_place_of or chosen.member.agent_id


def _record_turn_result(
    state: ConversationState, event: TurnCompleted, chosen: NextSpeaker, before: Round, lap_before: tuple[AgentId, ...]
) -> ConversationState:
    """Update the round and the health of the members after a turn."""
    turn_time = TurnTime(turn=state.floor.turn, at=event.at)
    was_outage = state.outage is not None
    state = record_member_result(state, event)
    current = _update_round(before, event, chosen)
    if event.outcome == "failed" and not before.failed:
        current = current.model_copy(update={"lap_before": lap_before})
    if event.outcome == "failed" and chosen.chosen_by != "conclusion":
        current = _record_failed_turn(state, current, chosen)
        # All members have failed one after the other: the cause is common, so none is tried before the cool-down.
        if current.vacant_seat is None and all(seat.owner in current.failed for seat in expected_roster(state).seats()):
            state = isolate_all_members(state, turn_time)
            state = state.model_copy(update={"floor": state.floor.model_copy(update={"lap": current.lap_before})})
            current = current.model_copy(update={"turns": current.turns - current.skipped, "skipped": 0, "failed": ()})
    elif was_outage and event.outcome in ("spoke", "passed"):
        state = start_probation_for_all(state, turn_time, f"{event.speaker.name} answers again")
    return state.model_copy(update={"round": current})


def _update_round(current: Round, event: TurnCompleted, chosen: NextSpeaker) -> Round:
    tokens_found = tuple(dict.fromkeys((*current.tokens_found, *event.tokens_found)))
    update: dict[str, object] = {
        "tokens_found": tokens_found,
        "chosen": None,
        "vacant_seat": None,
        "managers_tried": (),
        "managers_error": "",
        "concluded": current.concluded or chosen.closes_conversation,
    }
    if event.outcome in ("spoke", "passed") and chosen.chosen_by != "conclusion":
        passes = current.consecutive_passes + 1 if event.outcome == "passed" else 0
        update |= {"turns": current.turns + 1, "consecutive_passes": passes, "failed": (), "skipped": 0}
    return current.model_copy(update=update)


def _record_failed_turn(state: ConversationState, current: Round, chosen: NextSpeaker) -> Round:
    """Hand the turn to a member on standby, if there is one; else skip it and count it."""
    roster = expected_roster(state)
    owner = chosen.in_place_of or chosen.member.agent_id
    current = current.model_copy(update={"failed": tuple(dict.fromkeys((*current.failed, owner)))})
    substitute = roster.find_stand_in(owner) or roster.find_free_standby(owner)
    if chosen.chosen_by != "standby" and "standby" in state.settings.failure_steps and substitute:
        if substitute.agent_id != chosen.member.agent_id:
            return current.model_copy(update={"vacant_seat": owner})
    update: dict[str, object] = {"consecutive_passes": 0}
    # If the owner is isolated by this failure, its seat is gone and with it one turn of the default `max_turns`.
    if any(seat.owner == owner for seat in roster.seats()):
        update |= {"turns": current.turns + 1, "skipped": current.skipped + 1}
    return current.model_copy(update=update)


def _summarise(event: TurnCompleted) -> TurnSummary:
    return TurnSummary(
        turn=event.turn,
        speaker=event.speaker.name,
        outcome=event.outcome,
        chosen_by=event.chosen_by,
        reason=event.reason,
        text_preview=event.text_preview,
        error=event.error,
    )

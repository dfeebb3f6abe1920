"""When those outside are told of the conversation's phase: each change once, with its reason.

Law: a round tells of its own beginning and end with what it writes anyway. Only a pause, and the end of one, need a
step of their own.
"""

from tertulia.core.decisions import AnnouncePhase, AskManager, Decision, TakeTurn, WaitForInput
from tertulia.core.phases import PhaseChange, PublicPhase
from tertulia.core.state import ConversationState
from tertulia.core.status import pause_reason


def next_announcement(state: ConversationState, decision: Decision) -> AnnouncePhase | None:
    """What is to be told before `decision` is carried out."""
    match decision:
        case WaitForInput(phase="paused") if state.announced_phase != "paused":
            reason = pause_reason(state.model_copy(update={"phase": "paused"})) or ""
            return AnnouncePhase(change=next_phase_change(state, "paused", reason))
        case WaitForInput(phase="ready") if state.announced_phase == "paused":
            return AnnouncePhase(change=next_phase_change(state, "ready", "resumed"))
        case TakeTurn() | AskManager() if state.announced_phase == "paused":
            return AnnouncePhase(change=next_phase_change(state, "executing", "resumed"))
        case _:
            return None


def next_phase_change(
    state: ConversationState, phase: PublicPhase, reason: str = "", explanation: str = "", *, round: int | None = None
) -> PhaseChange:
    """The next change of the phase."""
    number = state.rounds if round is None else round
    return PhaseChange(
        number=state.phase_changes + 1, phase=phase, round=number, reason=reason, explanation=explanation
    )


def record_announcement(state: ConversationState, phase: PublicPhase) -> ConversationState:
    """The state once that phase is told."""
    return state.model_copy(update={"announced_phase": phase, "phase_changes": state.phase_changes + 1})

"""Publication of phase changes: each one once, with its reason.

Invariant: start and end of a round are published by the statements that record them; only a pause and its end need a
step of their own.
"""

from tertulia.core.decisions import AnnouncePhase, AskManager, Decision, TakeTurn, WaitForInput
from tertulia.core.phases import PhaseChange, PublicPhase
from tertulia.core.state import ConversationState
from tertulia.core.status import pause_reason


def next_announcement(state: ConversationState, decision: Decision) -> AnnouncePhase | None:
    """Return the phase change to publish before `decision` is executed, if any."""
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
    """Return the next phase change, with the next number."""
    number = state.rounds if round is None else round
    return PhaseChange(
        number=state.phase_changes + 1, phase=phase, round=number, reason=reason, explanation=explanation
    )


def record_announcement(state: ConversationState, phase: PublicPhase) -> ConversationState:
    """Record that `phase` was published."""
    return state.model_copy(update={"announced_phase": phase, "phase_changes": state.phase_changes + 1})

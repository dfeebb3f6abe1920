"""Records of turns, and the results that the workflow receives for them.

Invariant: a turn read back from the database gives the same result as when it was committed.
"""

from typing import Any

from tertulia.core.activity_contracts import TakeTurnInput, TurnResult
from tertulia.core.records import TurnRecord
from tertulia.core.termination import find_tokens
from tertulia.core.text import make_preview
from tertulia.core.usage import Usage
from tertulia.store.database import Database
from tertulia.store.transcript import text_of
from tertulia.store.turns import find_turn


def base_record_fields(request: TakeTurnInput) -> dict[str, Any]:
    """Return the fields of a turn's record that are known before the turn starts."""
    return {
        "turn": request.turn,
        "round": request.round,
        "epoch": request.epoch,
        "speaker_id": request.speaker.agent_id,
        "speaker": request.speaker.name,
        "chosen_by": request.chosen_by,
        "reason": request.reason,
    }


def build_turn_result(request: TakeTurnInput, turn: TurnRecord, text: str) -> TurnResult:
    """Build the result of a turn for the workflow.

    Args:
        request: the activity's input.
        turn: the committed record.
        text: the committed message; empty if there is none.
    """
    return TurnResult(
        text_preview=(
            make_preview(text, request.preview_chars) if turn.outcome == "spoke" else f"({turn.error or turn.outcome})"
        ),
        outcome=turn.outcome,
        seq=turn.seq,
        tokens_found=find_tokens(text, request.tokens),
        usage=turn_usage(turn),
        attempt=turn.attempt,
        fallback_index=turn.fallback_index,
        error=turn.error or "",
    )


def turn_usage(turn: TurnRecord) -> Usage:
    """Return the cost of a turn."""
    return Usage(
        prompt_tokens=turn.prompt_tokens, completion_tokens=turn.completion_tokens, model_calls=turn.model_calls
    )


async def read_committed_result(database: Database, request: TakeTurnInput) -> TurnResult:
    """Build the result of the turn that another attempt has committed."""
    turn = await find_turn(database, request.conversation_id, request.turn)
    assert turn is not None
    text = await text_of(database, request.conversation_id, turn.seq) if turn.outcome == "spoke" else ""
    return build_turn_result(request, turn, text)

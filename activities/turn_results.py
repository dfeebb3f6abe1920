"""From a turn's work to its record, and from the record to what the workflow is told.

Law: a turn that is read back from the database gives the same result as when it was committed.
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


def base_record_fields(work: TakeTurnInput) -> dict[str, Any]:
    """The part of a turn's record that is known before it begins."""
    return {
        "turn": work.turn,
        "round": work.round,
        "epoch": work.epoch,
        "speaker_id": work.speaker.agent_id,
        "speaker": work.speaker.name,
        "chosen_by": work.chosen_by,
        "reason": work.reason,
    }


def build_turn_result(work: TakeTurnInput, turn: TurnRecord, text: str) -> TurnResult:
    """What the workflow is told of a turn in which `text` was said."""
    return TurnResult(
        text_preview=(
            make_preview(text, work.preview_chars) if turn.outcome == "spoke" else f"({turn.error or turn.outcome})"
        ),
        outcome=turn.outcome,
        seq=turn.seq,
        tokens_found=find_tokens(text, work.tokens),
        usage=turn_usage(turn),
        attempt=turn.attempt,
        fallback_index=turn.fallback_index,
        error=turn.error or "",
    )


def turn_usage(turn: TurnRecord) -> Usage:
    """What a turn has cost."""
    return Usage(
        prompt_tokens=turn.prompt_tokens, completion_tokens=turn.completion_tokens, model_calls=turn.model_calls
    )


async def read_committed_result(database: Database, work: TakeTurnInput) -> TurnResult:
    """As `build_turn_result`, for the turn that another attempt has committed."""
    turn = await find_turn(database, work.conversation_id, work.turn)
    assert turn is not None
    text = await text_of(database, work.conversation_id, turn.seq) if turn.outcome == "spoke" else ""
    return build_turn_result(work, turn, text)

"""From a turn's work to its record, and from the record to what the workflow is told.

Law: a turn that is read back from the database gives the same result as when it was committed.
"""

from typing import Any

from tertulia.core.activity_contracts import TakeTurn, TurnResult
from tertulia.core.termination import tokens_said
from tertulia.core.text import preview
from tertulia.core.usage import Usage
from tertulia.store.database import Database
from tertulia.store.transcript import text_of
from tertulia.store.turns import TurnRecord, find_turn


def record_of(work: TakeTurn) -> dict[str, Any]:
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


def result_of(work: TakeTurn, turn: TurnRecord, text: str) -> TurnResult:
    """What the workflow is told of a turn in which `text` was said."""
    return TurnResult(
        said=preview(text, work.preview_chars) if turn.outcome == "spoke" else f"({turn.error or turn.outcome})",
        outcome=turn.outcome,
        seq=turn.seq,
        tokens_said=tokens_said(text, work.tokens),
        usage=usage_of(turn),
        attempt=turn.attempt,
        model=turn.fallback,
        trouble=turn.error or "",
    )


def usage_of(turn: TurnRecord) -> Usage:
    """What a turn has cost."""
    return Usage(
        prompt_tokens=turn.prompt_tokens, completion_tokens=turn.completion_tokens, model_calls=turn.model_calls
    )


async def committed_result(database: Database, work: TakeTurn) -> TurnResult:
    """As `result_of`, for the turn that another attempt has committed."""
    turn = await find_turn(database, work.conversation_id, work.turn)
    assert turn is not None
    text = await text_of(database, work.conversation_id, turn.seq) if turn.outcome == "spoke" else ""
    return result_of(work, turn, text)

"""Invariant: the cost of a turn does not grow with the transcript; Postgres finds every row by an index."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import Engine

from tertulia.core.context_window import compute_window
from tertulia.core.ids import ConversationId
from tertulia.core.usage import Usage
from tertulia.store.database import Database
from tertulia.store.selections import SelectionRecord, commit_selection, find_selection
from tertulia.store.transcript import read_messages, read_window, record_posts, text_of
from tertulia.store.turns import charge_turn, find_turn, read_turn_context, read_turns
from tests.store.harness import StoreHarness, open_store_harness, post, unique_id

LARGE = ("messages", "turns", "selections", "membership_changes")
ROWS = 4_000
Statement = tuple[str, Any]

_FILL = """
INSERT INTO conversations (id, group_id, last_seq, last_turn, chars)
    SELECT 'filler-' || c, :group_id, :rows, :rows, :rows * 10 FROM generate_series(1, 3) c ON CONFLICT DO NOTHING;
INSERT INTO messages (conversation_id, seq, turn, role, sender, text, chars_before, message_id)
    SELECT id, n, n, 'assistant', 'x', repeat('w', 10), (n - 1) * 10, 'm' || n
    FROM conversations, generate_series(1, :rows) n WHERE last_seq = :rows;
INSERT INTO turns (conversation_id, turn, round, epoch, speaker_id, speaker, chosen_by, reason, outcome, seq, attempt,
                   prompt_tokens, completion_tokens, started_at)
    SELECT id, n, 1, 1, 'x', 'x', 'round_robin', 'x', 'spoke', n, 1, 1, 1, now()
    FROM conversations, generate_series(1, :rows) n WHERE last_seq = :rows;
INSERT INTO selections (conversation_id, round, turn, outcome, reason, attempts, prompt_tokens, completion_tokens,
                        model_calls)
    SELECT id, 1, n, 'chosen', 'x', 1, 1, 1, 1 FROM conversations, generate_series(1, :rows) n WHERE last_seq = :rows;
"""


@pytest.fixture(scope="module")
async def long_conversation(database: Database) -> AsyncIterator[StoreHarness]:
    """A conversation of thousands of messages, among others as long."""
    harness = await open_store_harness(database)
    own = {"id": harness.conversation_id, "rows": ROWS}
    async with database.transaction() as connection:
        query = "UPDATE conversations SET last_seq = :rows, last_turn = :rows, chars = :rows * 10 WHERE id = :id"
        await connection.execute(text(query), own)
        for statement in _FILL.split(";")[:-1]:
            await connection.execute(text(statement), {"group_id": harness.group.id, "rows": ROWS})
        await connection.execute(text("ANALYZE"))
    harness.turn = harness.seq = ROWS
    yield harness
    ours = "conversation_id LIKE 'filler-%' OR conversation_id = :id"
    async with database.transaction() as connection:
        for table in ("messages", "turns", "selections"):
            await connection.execute(text(f"DELETE FROM {table} WHERE {ours}"), {"id": harness.conversation_id})


@contextmanager
def recorded_statements() -> Iterator[list[Statement]]:
    """Context manager: record every statement with its parameters."""
    sent: list[Statement] = []

    def note(_: Connection, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
        sent.append((statement, parameters[0] if many else parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def scans(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return each scan of a plan: kind and table."""
    if "Relation Name" in plan and "Scan" in plan["Node Type"]:
        yield plan["Node Type"], plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from scans(part)


async def planned_scans(database: Database, statements: list[Statement]) -> list[tuple[str, str]]:
    """Return the scans that Postgres plans for these statements."""
    found = []
    async with database.transaction() as connection:
        for statement, parameters in statements:
            result = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
            found += list(scans(result.scalar_one()[0]["Plan"]))
    return found


async def test_turn_queries_use_no_sequential_scan(long_conversation: StoreHarness) -> None:
    database, conversation_id = long_conversation.database, long_conversation.conversation_id
    view = compute_window(ROWS, ROWS * 10, max_messages=40, max_tokens=16_000)
    choice = SelectionRecord(outcome="finished", reason="x", attempts=1)
    with recorded_statements() as sent:
        assert await read_turn_context(database, conversation_id, long_conversation.agents[0].id)
        assert len(await read_window(database, conversation_id, view, ROWS)) > 20
        assert await long_conversation.commit(long_conversation.record(), "words") is None
        assert await find_turn(database, conversation_id, ROWS)
        await charge_turn(database, conversation_id, ROWS, Usage(model_calls=1))
        assert await text_of(database, conversation_id, ROWS)
        assert await record_posts(database, conversation_id, [post("a"), post("b")]) == ROWS + 3
        assert await commit_selection(database, long_conversation.selection(round=2, turn=ROWS), choice)
        assert await find_selection(database, long_conversation.selection(round=2, turn=ROWS))
        assert len(await read_messages(database, conversation_id, after_seq=ROWS - 5, limit=3)) == 3
        assert len(await read_turns(database, conversation_id, after_turn=ROWS - 5, limit=3)) == 3
    found = await planned_scans(database, sent)
    assert {table for _, table in found} >= {"conversations", "messages", "turns", "selections", "members"}
    assert [(how, table) for how, table in found if how == "Seq Scan" and table in LARGE] == []


async def test_plan_check_detects_sequential_scan(long_conversation: StoreHarness) -> None:
    with recorded_statements() as sent:
        await long_conversation.database.rows(text("SELECT count(*) FROM messages WHERE sender = 'nobody'"))
    assert await planned_scans(long_conversation.database, sent) == [("Seq Scan", "messages")]


async def test_read_window_reads_bounded_rows(long_conversation: StoreHarness) -> None:
    view = compute_window(ROWS, ROWS * 10, max_messages=40, max_tokens=50)
    with recorded_statements() as sent:
        shown = await read_window(long_conversation.database, long_conversation.conversation_id, view, ROWS)
    assert len(shown) <= 20
    async with long_conversation.database.transaction() as connection:
        statement, parameters = sent[0]
        explained = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        assert rows_read(explained.scalar_one()[0]["Plan"]) <= 40


def rows_read(plan: dict[str, Any]) -> int:
    """Return the rows that the scans of a plan read, including those they dropped."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if "Relation Name" in plan else 0
    return int(own) + sum(map(rows_read, plan.get("Plans", ())))


async def test_unknown_conversation_reads_are_empty(database: Database) -> None:
    nowhere = ConversationId(unique_id("nowhere"))
    assert await read_messages(database, nowhere) == []
    assert await read_turns(database, nowhere) == []

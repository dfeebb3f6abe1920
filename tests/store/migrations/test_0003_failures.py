"""Migration 0003 on a used database, up and down: standby members, fallback models, several managers."""

from collections.abc import Sequence
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, ConversationId
from tertulia.store.database import Database
from tertulia.store.groups import find_group
from tertulia.store.migrate import MIGRATIONS, current_revision, head_revision, upgrade
from tertulia.store.selections import SelectionKey, find_selection
from tertulia.store.turns import find_turn
from tests.store.conftest import NewDatabase

CONVERSATION_ID = ConversationId("talk")

BEFORE = """
INSERT INTO agents (id, name, description, instructions, model, memory)
    SELECT 'a' || n, 'Agent' || n, '', '', '{}', '[]' FROM generate_series(0, 3) n;
INSERT INTO groups (id, name, description, manager_config, shared_memory, settings)
    VALUES ('g', 'Group', '', '{"manager_type": "dynamic", "manager_agent_id": "a3"}', '[]', '{}');
INSERT INTO group_members (group_id, agent_id, position) VALUES ('g', 'a0', 0), ('g', 'a1', 1);
INSERT INTO conversations (id, group_id, last_turn) VALUES ('talk', 'g', 2);
INSERT INTO turns (conversation_id, turn, round, epoch, speaker_id, speaker, chosen_by, reason, outcome, error, seq,
                   attempt, prompt_tokens, completion_tokens, started_at)
    VALUES ('talk', 1, 1, 1, 'a0', 'Agent0', 'manager', 'x', 'spoke', NULL, 1, 1, 7, 5, now()),
           ('talk', 2, 1, 1, 'a1', 'Agent1', 'manager', 'x', 'failed', 'down', 1, 5, 0, 0, now());
INSERT INTO selections (conversation_id, round, turn, outcome, agent_id, reason, attempts, prompt_tokens,
                        completion_tokens, model_calls)
    VALUES ('talk', 1, 1, 'chosen', 'a0', 'it fits', 1, 1, 1, 1);
"""
AFTER = """
INSERT INTO group_members (group_id, agent_id, position, standby, stands_in_for) VALUES ('g', 'a2', 2, true, 'a0');
INSERT INTO turns (conversation_id, turn, round, epoch, speaker_id, speaker, chosen_by, reason, outcome, seq, attempt,
                   prompt_tokens, completion_tokens, model_calls, started_at)
    SELECT 'talk', 3 + n, 1, 1, 'a0', 'Agent0', 'manager', 'x', (ARRAY['discarded', 'cancelled'])[n + 1], 1, 0, 0, 0, 0,
           now() FROM generate_series(0, 1) n;
INSERT INTO selections (conversation_id, round, turn, manager_id, outcome, reason, attempts, prompt_tokens,
                        completion_tokens, model_calls)
    VALUES ('talk', 1, 2, 'a3', 'failed', 'a3', 1, 1, 1, 1);
INSERT INTO selections (conversation_id, round, turn, manager_id, outcome, reason, attempts, prompt_tokens,
                        completion_tokens, model_calls)
    VALUES ('talk', 1, 2, 'a2', 'chosen', 'a2', 1, 1, 1, 1);
"""


def migrate_0003(url: str, *, forward: bool) -> None:
    """Migrate to revision 0003 or to the one before."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    before = ScriptDirectory(str(MIGRATIONS)).get_revision("0003").down_revision
    assert isinstance(before, str)
    if forward or current_revision(url) is None:
        command.upgrade(config, "0003" if forward else before)
    else:
        command.downgrade(config, before)


def execute(url: str, query: str) -> Sequence[tuple[Any, ...]]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(query))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def execute_all(url: str, statements: str) -> None:
    for statement in statements.split(";")[:-1]:
        execute(url, statement)


async def test_upgrade_0003_keeps_existing_rows(new_database: NewDatabase) -> None:
    url = await new_database()
    migrate_0003(url, forward=False)
    execute_all(url, BEFORE)
    assert upgrade(url) == head_revision()
    async with Database(url) as database:
        group = await find_group(database, DEFAULT_ORGANISATION, "g")
        assert (group.agent_ids, group.standby) == (("a0", "a1"), ())
        spoken, failed = [await find_turn(database, CONVERSATION_ID, turn) for turn in (1, 2)]
        assert spoken is not None
        assert failed is not None
        assert (spoken.outcome, spoken.fallback_index, spoken.model_calls, spoken.prompt_tokens) == ("spoke", 0, 1, 7)
        assert (failed.outcome, failed.error) == ("failed", "down")
        chosen = await find_selection(
            database, SelectionKey(conversation_id=CONVERSATION_ID, round=1, turn=1, manager_id=AgentId(""))
        )
        assert chosen is not None
        assert (chosen.agent_id, chosen.fallback, chosen.error) == ("a0", 0, None)


async def test_downgrade_0003_and_upgrade_again(new_database: NewDatabase) -> None:
    url = await new_database()
    migrate_0003(url, forward=False)
    execute_all(url, BEFORE)
    migrate_0003(url, forward=True)
    execute_all(url, AFTER)
    migrate_0003(url, forward=False)
    assert execute(url, "SELECT agent_id FROM group_members ORDER BY position") == [("a0",), ("a1",)]
    assert execute(url, "SELECT turn, outcome FROM turns ORDER BY turn") == [
        (1, "spoke"),
        (2, "failed"),
        (3, "failed"),
        (4, "failed"),
    ]
    kept = execute(url, "SELECT round, turn, outcome, reason FROM selections ORDER BY turn")
    assert kept == [(1, 1, "chosen", "it fits"), (1, 2, "chosen", "a2")]
    assert upgrade(url) == head_revision()
    async with Database(url) as database:
        assert (await find_group(database, DEFAULT_ORGANISATION, "g")).standby == ()

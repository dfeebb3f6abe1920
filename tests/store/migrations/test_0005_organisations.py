"""Migration 0005 on a used database, up and down: memory inside agents and groups becomes blocks."""

from alembic import command

from tertulia.core.blocks import MemoryBlock
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.store.agents import find_agent, read_agent
from tertulia.store.database import Database
from tertulia.store.groups import find_group
from tertulia.store.migrate import alembic_config, head_revision, upgrade
from tests.store.conftest import NewDatabase
from tests.store.migrations.test_0003_failures import execute, execute_all

BEFORE = """
INSERT INTO agents (id, name, description, instructions, model, memory) VALUES
    ('a', 'Ana', '', '', '{}', '[{"label": "plan", "value": "p"}, {"label": "bare", "value": ""}]'),
    ('b', 'Ben', '', '', '{}', '[]');
INSERT INTO groups (id, name, description, manager_config, shared_memory, settings)
    VALUES ('g', 'Group', '', '{"manager_type": "round_robin"}', '[{"label": "facts", "value": "x"}]', '{}');
"""
OWNED = """
UPDATE agents SET deleted_at = now() WHERE id = 'b';
INSERT INTO agents (id, name, description, instructions, model) VALUES ('c', 'Ben', '', '', '{}');
"""


async def test_upgrade_0005_moves_memory_to_blocks(new_database: NewDatabase) -> None:
    url = await new_database()
    command.upgrade(alembic_config(url), "0004")
    execute_all(url, BEFORE)
    assert upgrade(url) == head_revision()
    async with Database(url) as database:
        ana = await find_agent(database, DEFAULT_ORGANISATION, "Ana")
        assert ana.memory == (MemoryBlock(label="plan", value="p"), MemoryBlock(label="bare"))
        assert (await find_agent(database, DEFAULT_ORGANISATION, "b")).memory == ()
        group = await find_group(database, DEFAULT_ORGANISATION, "g")
        assert group.shared_memory == (MemoryBlock(label="facts", value="x"),)
        first = (await read_agent(database, DEFAULT_ORGANISATION, "a")).blocks[0]
        assert (first.version, first.limit, first.description) == (1, 20_000, "")


async def test_downgrade_0005_restores_memory(new_database: NewDatabase) -> None:
    url = await new_database()
    command.upgrade(alembic_config(url), "0004")
    execute_all(url, BEFORE)
    upgrade(url)
    execute_all(url, OWNED)
    command.downgrade(alembic_config(url), "0004")
    kept = [{"label": "plan", "value": "p"}, {"label": "bare", "value": ""}]
    assert execute(url, "SELECT name, memory FROM agents ORDER BY id") == [("Ana", kept), ("Ben (b)", []), ("Ben", [])]
    assert execute(url, "SELECT shared_memory FROM groups") == [([{"label": "facts", "value": "x"}],)]

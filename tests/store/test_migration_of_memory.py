"""The step from memory within agents and groups to blocks of their own, both ways, on a database in use."""

from alembic import command
from alembic.config import Config

from tertulia.core.blocks import MemoryBlock
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.store.agents import find_agent, read_agent
from tertulia.store.database import Database
from tertulia.store.groups import find_group
from tertulia.store.migrate import MIGRATIONS, newest, upgrade
from tests.store.conftest import NewDatabase
from tests.store.test_migration_of_failures import fill, told

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


def configured(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


async def test_what_was_remembered_before_the_step_is_remembered_after_it(new_database: NewDatabase) -> None:
    url = await new_database()
    command.upgrade(configured(url), "0004")
    fill(url, BEFORE)
    assert upgrade(url) == newest()
    async with Database(url) as database:
        ana = await find_agent(database, DEFAULT_ORGANISATION, "Ana")
        assert ana.memory == (MemoryBlock(label="plan", value="p"), MemoryBlock(label="bare"))
        assert (await find_agent(database, DEFAULT_ORGANISATION, "b")).memory == ()
        group = await find_group(database, DEFAULT_ORGANISATION, "g")
        assert group.shared_memory == (MemoryBlock(label="facts", value="x"),)
        first = (await read_agent(database, DEFAULT_ORGANISATION, "a")).blocks[0]
        assert (first.version, first.limit, first.description) == (1, 20_000, "")


async def test_the_step_can_be_taken_back_with_all_that_is_remembered(new_database: NewDatabase) -> None:
    url = await new_database()
    command.upgrade(configured(url), "0004")
    fill(url, BEFORE)
    upgrade(url)
    fill(url, OWNED)
    command.downgrade(configured(url), "0004")
    kept = [{"label": "plan", "value": "p"}, {"label": "bare", "value": ""}]
    assert told(url, "SELECT name, memory FROM agents ORDER BY id") == [("Ana", kept), ("Ben (b)", []), ("Ben", [])]
    assert told(url, "SELECT shared_memory FROM groups") == [([{"label": "facts", "value": "x"}],)]

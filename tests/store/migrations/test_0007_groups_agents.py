"""Migration 0007: the join table is renamed, its rows stay, and statements of the previous version still work."""

import asyncio

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from tertulia.store.migrate import alembic_config, upgrade
from tests.store.conftest import NewDatabase

_ROWS = """
INSERT INTO agents (id, name, description, instructions, model) VALUES
    ('a0', 'Ana', '', '', '{}'), ('a1', 'Ben', '', '', '{}');
INSERT INTO groups (id, name, description, manager_config, settings) VALUES ('g', 'G', '', '{}', '{}');
"""


@pytest.fixture
async def url(new_database: NewDatabase) -> str:
    """A database at revision 0006 with one group of two."""
    url = await new_database()
    await asyncio.to_thread(command.upgrade, alembic_config(url), "0006")
    _execute(url, _ROWS)
    _execute(url, "INSERT INTO group_members (group_id, agent_id, position) VALUES ('g', 'a0', 0), ('g', 'a1', 1)")
    return url


def _execute(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def _names(url: str, table: str) -> set[str | None]:
    engine = create_engine(url)
    try:
        inspector = inspect(engine)
        keys = {inspector.get_pk_constraint(table)["name"], *(key["name"] for key in inspector.get_foreign_keys(table))}
        return keys | {index["name"] for index in inspector.get_indexes(table)}
    finally:
        engine.dispose()


async def test_upgrade_keeps_members_and_renames(url: str) -> None:
    await asyncio.to_thread(upgrade, url)
    members = "SELECT agent_id, position, standby FROM {} ORDER BY position"
    assert _execute(url, members.format("groups_agents")) == [("a0", 0, False), ("a1", 1, False)]
    assert _names(url, "groups_agents") == {
        "pk_groups_agents",
        "fk_groups_agents_agent_id",
        "fk_groups_agents_group_id",
        "ix_groups_agents_agent_id",
    }


async def test_old_name_still_reads_and_writes(url: str) -> None:
    await asyncio.to_thread(upgrade, url)
    _execute(url, "DELETE FROM group_members WHERE group_id = 'g' AND agent_id = 'a0'")
    _execute(url, "UPDATE group_members SET position = 7 WHERE agent_id = 'a1'")
    _execute(url, "INSERT INTO group_members (group_id, agent_id, position) VALUES ('g', 'a0', 8)")
    rows = "SELECT agent_id, position, standby, stands_in_for FROM {} ORDER BY position"
    expected = [("a1", 7, False, None), ("a0", 8, False, None)]
    assert _execute(url, rows.format("groups_agents")) == expected
    assert _execute(url, rows.format("group_members")) == expected
    with pytest.raises(IntegrityError):
        _execute(url, "INSERT INTO group_members (group_id, agent_id, position) VALUES ('g', 'nobody', 9)")


async def test_downgrade_restores_table(url: str) -> None:
    await asyncio.to_thread(upgrade, url)
    await asyncio.to_thread(command.downgrade, alembic_config(url), "0006")
    assert _execute(url, "SELECT agent_id FROM group_members ORDER BY position") == [("a0",), ("a1",)]
    assert "pk_group_members" in _names(url, "group_members")

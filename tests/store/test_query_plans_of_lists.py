"""Invariant: other organisations' rows make no page slower; an organisation's own rows are found by an index."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from tertulia.core.agents import AgentFilter
from tertulia.core.blocks import BlockFilter
from tertulia.core.group import GroupFilter
from tertulia.core.ids import OrganisationId
from tertulia.core.paging import Page
from tertulia.store.agents import agents_with_block, list_agents
from tertulia.store.blocks import list_blocks
from tertulia.store.database import Database
from tertulia.store.groups import list_groups
from tests.store.sample_rows import new_organisation
from tests.store.test_query_plans import planned_scans, recorded_statements

ROWS = 1_500
ORGANISATIONS = 8
LISTED = ("agents", "blocks", "groups", "agents_blocks", "groups_blocks", "groups_agents")

_FILL = """
INSERT INTO agents (id, organisation_id, name, description, instructions, model, tags, created_at)
    SELECT :o || '-a' || n, :o, 'Agent ' || n, '', '', '{}', ARRAY['t' || n % 7], now() - n * interval '1 second'
    FROM generate_series(1, :rows) n;
INSERT INTO blocks (id, organisation_id, label, value, "limit", created_at)
    SELECT :o || '-b' || n, :o, 'l' || n % 7, '', 9, now() - n * interval '1 second' FROM generate_series(1, :rows) n;
INSERT INTO groups (id, organisation_id, name, description, manager_config, settings, created_at)
    SELECT :o || '-g' || n, :o, 'Group ' || n, '', '{"manager_type": "round_robin"}', '{}',
           now() - n * interval '1 second' FROM generate_series(1, :rows) n;
INSERT INTO agents_blocks (agent_id, block_id, position)
    SELECT :o || '-a' || n, :o || '-b' || n, 0 FROM generate_series(1, :rows) n;
INSERT INTO groups_blocks (group_id, block_id, position)
    SELECT :o || '-g' || n, :o || '-b' || n, 0 FROM generate_series(1, :rows) n;
INSERT INTO groups_agents (group_id, agent_id, position)
    SELECT :o || '-g' || n, :o || '-a' || n, 0 FROM generate_series(1, :rows) n
"""


@pytest.fixture(scope="module")
async def large_organisation(database: Database) -> AsyncIterator[OrganisationId]:
    """One of several organisations with thousands of agents, blocks and groups."""
    organisations = [await new_organisation(database) for _ in range(ORGANISATIONS)]
    async with database.transaction() as connection:
        for organisation_id in organisations:
            for statement in _FILL.split(";\n"):
                await connection.execute(text(statement), {"o": organisation_id, "rows": ROWS})
        await connection.execute(text("ANALYZE"))
    yield organisations[0]
    async with database.transaction() as connection:
        for table in ("groups_agents", "groups", "agents", "blocks"):
            column = "group_id" if table == "groups_agents" else "id"
            for organisation_id in organisations:
                await connection.execute(
                    text(f"DELETE FROM {table} WHERE {column} LIKE :o"), {"o": f"{organisation_id}-%"}
                )


async def test_list_queries_use_no_sequential_scan(database: Database, large_organisation: OrganisationId) -> None:
    with recorded_statements() as sent:
        for order in ("asc", "desc"):
            for only in (AgentFilter(), AgentFilter(name="agent 9"), AgentFilter(tags=("t1",))):
                page = Page.model_validate({"limit": 20, "order": order, "after": f"{large_organisation}-a750"})
                assert await list_agents(database, large_organisation, page, only) or only.name
            for block in (BlockFilter(), BlockFilter(label="l3")):
                page = Page.model_validate({"limit": 20, "order": order, "before": f"{large_organisation}-b750"})
                assert len(await list_blocks(database, large_organisation, page, block)) == 20
            for group in (GroupFilter(), GroupFilter(manager_type="round_robin"), GroupFilter(name="group 9")):
                page = Page.model_validate({"limit": 20, "order": order})
                assert await list_groups(database, large_organisation, page, group)
        assert len(await agents_with_block(database, large_organisation, f"{large_organisation}-b7", Page())) == 1
    found = await planned_scans(database, sent)
    assert {table for _, table in found} >= {"agents", "blocks", "groups"}
    assert [(how, table) for how, table in found if how == "Seq Scan" and table in LISTED] == []

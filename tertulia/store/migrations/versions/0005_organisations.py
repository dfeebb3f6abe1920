"""Organisations and their keys; memory blocks as rows of their own, attached to agents and shared by groups."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")
_LIVING = sa.text("deleted_at IS NULL")
_OWNED = ("agents", "groups")

_MEMORY_TO_BLOCKS = """
WITH written AS MATERIALIZED (
    SELECT owner.id AS owner_id, 'block-' || gen_random_uuid() AS block_id, block.ordinality - 1 AS position,
           block.value ->> 'label' AS label, coalesce(block.value ->> 'value', '') AS value
    FROM {owners} AS owner, jsonb_array_elements(owner.{column}) WITH ORDINALITY AS block
), made AS (
    INSERT INTO blocks (id, label, value, "limit") SELECT block_id, label, value, 20000 FROM written
)
INSERT INTO {owners}_blocks ({owner}_id, block_id, position) SELECT owner_id, block_id, position FROM written
"""
_BLOCKS_TO_MEMORY = """
UPDATE {owners} SET {column} = coalesce((
    SELECT jsonb_agg(jsonb_build_object('label', blocks.label, 'value', blocks.value) ORDER BY attached.position)
    FROM {owners}_blocks AS attached JOIN blocks ON blocks.id = attached.block_id
    WHERE attached.{owner}_id = {owners}.id
), '[]')
"""
_MEMORY = (
    {"owners": "agents", "owner": "agent", "column": "memory"},
    {"owners": "groups", "owner": "group", "column": "shared_memory"},
)


def upgrade() -> None:
    op.create_table(
        "organisations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
    )
    op.execute("INSERT INTO organisations (id, name) VALUES ('local', 'local')")
    _create_keys()
    _create_blocks()
    for table in _OWNED:
        op.add_column(table, _organisation())
        op.add_column(table, _metadata())
        op.add_column(
            table,
            sa.Column("deleted_at", sa.DateTime(timezone=True), comment="kept for the transcripts that name it"),
        )
        op.drop_index(op.f(f"uq_{table}_name"), table)
        op.create_index(
            op.f(f"uq_{table}_name"),
            table,
            ["organisation_id", sa.literal_column("lower(name)")],
            unique=True,
            postgresql_where=_LIVING,
        )
        _index_by_time(table)
        op.create_foreign_key(op.f(f"fk_{table}_organisation_id"), table, "organisations", ["organisation_id"], ["id"])
    op.add_column("agents", sa.Column("tags", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.add_column("groups", sa.Column("default_conversation_id", sa.Text(), comment="where messages to the group go"))
    for names in _MEMORY:
        op.execute(_MEMORY_TO_BLOCKS.format(**names))
        op.drop_column(names["owners"], names["column"])


def _create_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        _organisation(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the key, which is random"),
        sa.Column("hint", sa.Text(), nullable=False, comment="the key's first characters"),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("used_at", sa.DateTime(timezone=True), comment="about when it was last used"),
        _time("created_at"),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_api_keys_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_keys_hash")),
    )
    op.create_index(op.f("ix_api_keys_organisation_id"), "api_keys", ["organisation_id"])


def _create_blocks() -> None:
    op.create_table(
        "blocks",
        sa.Column("id", sa.Text(), nullable=False),
        _organisation(),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("limit", sa.Integer(), nullable=False, comment="the most characters that the value may have"),
        sa.Column(
            "version", sa.Integer(), server_default="1", nullable=False, comment="counts the changes of the value"
        ),
        _metadata(),
        _time("created_at"),
        _time("updated_at"),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_blocks_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blocks")),
    )
    _index_by_time("blocks")
    for names in _MEMORY:
        table, owner = f"{names['owners']}_blocks", f"{names['owner']}_id"
        op.create_table(
            table,
            sa.Column(owner, sa.Text(), nullable=False),
            sa.Column("block_id", sa.Text(), nullable=False),
            sa.Column("position", sa.Integer(), nullable=False),
            sa.ForeignKeyConstraint(
                [owner], [f"{names['owners']}.id"], name=op.f(f"fk_{table}_{owner}"), ondelete="CASCADE"
            ),
            sa.ForeignKeyConstraint(["block_id"], ["blocks.id"], name=op.f(f"fk_{table}_block_id"), ondelete="CASCADE"),
            sa.PrimaryKeyConstraint(owner, "block_id", name=op.f(f"pk_{table}")),
        )
        op.create_index(op.f(f"ix_{table}_block_id"), table, ["block_id"])


def _organisation() -> sa.Column[str]:
    return sa.Column("organisation_id", sa.Text(), server_default="local", nullable=False)


def _metadata() -> sa.Column[object]:
    return sa.Column("metadata", JSONB(), server_default="{}", nullable=False)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=_NOW, nullable=False)


def _index_by_time(table: str) -> None:
    op.create_index(op.f(f"ix_{table}_organisation_id_created_at_id"), table, ["organisation_id", "created_at", "id"])


def downgrade() -> None:
    """Blocks become texts of their owners again; what was deleted stays deleted where nothing names it."""
    for names in _MEMORY:
        column = sa.Column(names["column"], JSONB(), server_default="[]", nullable=False)
        op.add_column(names["owners"], column)
        op.execute(_BLOCKS_TO_MEMORY.format(**names))
        op.alter_column(names["owners"], names["column"], server_default=None)
        op.drop_table(f"{names['owners']}_blocks")
    op.drop_table("blocks")
    op.drop_column("groups", "default_conversation_id")
    op.drop_column("agents", "tags")
    for table in _OWNED:
        op.execute(f"UPDATE {table} SET name = name || ' (' || id || ')' WHERE deleted_at IS NOT NULL")
        op.drop_index(op.f(f"uq_{table}_name"), table)
        op.create_index(op.f(f"uq_{table}_name"), table, [sa.literal_column("lower(name)")], unique=True)
        for column_name in ("deleted_at", "metadata", "organisation_id"):
            op.drop_column(table, column_name)
    op.drop_table("api_keys")
    op.drop_table("organisations")

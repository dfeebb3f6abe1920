"""The events of each conversation, numbered; its rounds; the changes of groups that its members are told of."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")

_EVENTS_OF_MESSAGES = """
INSERT INTO events (conversation_id, number, kind, subject, created_at)
SELECT conversation_id, seq, 'message', seq, created_at FROM messages
"""
_COUNTERS = """
UPDATE conversations SET last_event = last_seq, started_turn = last_turn,
    phase = CASE WHEN closed_at IS NULL THEN 'ready' ELSE 'closed' END
"""


def upgrade() -> None:
    _extend_conversations()
    op.add_column(
        "messages",
        sa.Column(
            "round", sa.Integer(), comment="the round that it belongs to; null for one from before rounds were kept"
        ),
    )
    _create_rounds()
    _create_events()
    op.create_table(
        "group_changes",
        sa.Column(
            "id",
            sa.Text(),
            nullable=False,
            comment="the workflow's that makes the change: made twice, it is made once",
        ),
        sa.Column(
            "written", JSONB(), nullable=False, comment="what was written, and so what the conversations are told"
        ),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group_changes")),
    )
    op.execute(_EVENTS_OF_MESSAGES)
    op.execute(_COUNTERS)


def _extend_conversations() -> None:
    columns = (
        sa.Column("organisation_id", sa.Text(), server_default="local", nullable=False),
        sa.Column(
            "phase", sa.Text(), server_default="ready", nullable=False, comment="ready, executing, paused or closed"
        ),
        sa.Column(
            "phase_number",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="counts the changes of the phase",
        ),
        sa.Column("last_event", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "started_turn",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="the last turn that has begun",
        ),
        sa.Column("forked_from", sa.Text(), comment="the conversation whose beginning this one shares"),
        sa.Column("forked_turn", sa.BigInteger(), comment="the last turn that they share"),
        sa.Column(
            "watched_until",
            sa.DateTime(timezone=True),
            comment="till then somebody wants to see words as they are said",
        ),
    )
    for column in columns:
        op.add_column("conversations", column)
    op.create_foreign_key(
        op.f("fk_conversations_organisation_id"), "conversations", "organisations", ["organisation_id"], ["id"]
    )
    op.drop_index(op.f("ix_conversations_created_at"), "conversations")
    op.drop_index(op.f("ix_conversations_group_id"), "conversations")
    op.create_index(
        op.f("ix_conversations_group_id_id"),
        "conversations",
        ["group_id", "id"],
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index(
        op.f("ix_conversations_organisation_id_created_at_id"),
        "conversations",
        ["organisation_id", "created_at", "id"],
    )


def _create_rounds() -> None:
    op.create_table(
        "rounds",
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the last message of the transcript after the round"),
        sa.Column("stop_reason", sa.Text(), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("model_calls", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        _time("ended_at"),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_rounds_conversation_id")),
        sa.PrimaryKeyConstraint("conversation_id", "round", name=op.f("pk_rounds")),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="1, 2, 3…; a row of two events has the second"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "subject", sa.BigInteger(), comment="which message (seq), turn, change of the roster (epoch) or round"
        ),
        sa.Column("detail", JSONB(), comment="what no other table holds"),
        _time("created_at"),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_events_conversation_id")),
        sa.PrimaryKeyConstraint("conversation_id", "number", name=op.f("pk_events")),
    )


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=_NOW, nullable=False)


def downgrade() -> None:
    for table in ("group_changes", "events", "rounds"):
        op.drop_table(table)
    op.drop_column("messages", "round")
    op.drop_index(op.f("ix_conversations_group_id_id"), "conversations")
    op.create_index(op.f("ix_conversations_group_id"), "conversations", ["group_id"])
    op.create_index(op.f("ix_conversations_created_at"), "conversations", ["created_at"])
    counters = ("started_turn", "last_event", "phase_number", "phase")
    for column in ("watched_until", "forked_turn", "forked_from", *counters, "organisation_id"):
        op.drop_column("conversations", column)

"""Members on standby; what failed in a turn and which model answered; several managers for one choice."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None

_OUTCOMES = "outcome in ('spoke', 'passed', 'failed', 'discarded', 'cancelled')"

_ALL_BUT_THE_LAST_SELECTION = """
DELETE FROM selections USING selections AS later
WHERE (selections.conversation_id, selections.round, selections.turn)
    = (later.conversation_id, later.round, later.turn)
AND (selections.created_at, selections.manager_id) < (later.created_at, later.manager_id)
"""


def upgrade() -> None:
    op.add_column(
        "group_members",
        sa.Column(
            "standby",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="speaks only in another's place",
        ),
    )
    op.add_column(
        "group_members",
        sa.Column("stands_in_for", sa.Text(), comment="the only member it stands in for; null = any"),
    )
    op.alter_column("turns", "error", comment="what failed, also where there was an answer in the end")
    op.add_column("turns", _fallback("0 = the agent's own model answered"))
    op.add_column("turns", sa.Column("model_calls", sa.Integer(), server_default="1", nullable=False))
    op.drop_constraint(op.f("ck_turns_outcome"), "turns")
    op.create_check_constraint(op.f("ck_turns_outcome"), "turns", _OUTCOMES)
    op.add_column("selections", sa.Column("manager_id", sa.Text(), server_default="", nullable=False))
    op.add_column("selections", sa.Column("error", sa.Text(), comment="what failed before there was an answer"))
    op.add_column("selections", _fallback("0 = the manager's own model answered"))
    op.drop_constraint(op.f("pk_selections"), "selections")
    op.create_primary_key(op.f("pk_selections"), "selections", ["conversation_id", "round", "turn", "manager_id"])


def _fallback(comment: str) -> sa.Column[int]:
    return sa.Column("fallback", sa.Integer(), server_default="0", nullable=False, comment=comment)


def downgrade() -> None:
    """Drop or approximate the data that the previous version cannot express."""
    op.execute("DELETE FROM group_members WHERE standby")
    op.execute("UPDATE turns SET outcome = 'failed' WHERE outcome IN ('discarded', 'cancelled')")
    op.execute(_ALL_BUT_THE_LAST_SELECTION)
    op.drop_constraint(op.f("pk_selections"), "selections")
    op.create_primary_key(op.f("pk_selections"), "selections", ["conversation_id", "round", "turn"])
    for column in ("fallback", "error", "manager_id"):
        op.drop_column("selections", column)
    op.drop_constraint(op.f("ck_turns_outcome"), "turns")
    op.create_check_constraint(op.f("ck_turns_outcome"), "turns", "outcome in ('spoke', 'passed', 'failed')")
    for column in ("model_calls", "fallback"):
        op.drop_column("turns", column)
    op.alter_column("turns", "error", comment=None)
    for column in ("stands_in_for", "standby"):
        op.drop_column("group_members", column)

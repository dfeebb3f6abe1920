"""Claims: the worker that runs each activity, so that a dead worker's activities are handed back at once."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "claims",
        sa.Column("worker", sa.Integer(), nullable=False, comment="the second half of the worker's advisory lock"),
        sa.Column(
            "token",
            sa.LargeBinary(),
            nullable=False,
            comment="Temporal's, of an activity that the worker is at work on",
        ),
        sa.PrimaryKeyConstraint("worker", "token", name=op.f("pk_claims")),
        prefixes=["UNLOGGED"],
    )


def downgrade() -> None:
    op.drop_table("claims")

"""Rename the join table `group_members` to `groups_agents`, as the field names it.

Workers of the previous version run beside this one for one release: a view with the old name lets their statements read
and write the renamed table.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_CONSTRAINTS = ("pk_{}", "fk_{}_agent_id", "fk_{}_group_id")
_INDEX = "ix_{}_agent_id"
_OLD, _NEW = "group_members", "groups_agents"


def upgrade() -> None:
    _rename(_OLD, _NEW)
    op.execute(f"CREATE VIEW {_OLD} AS SELECT group_id, agent_id, position, standby, stands_in_for FROM {_NEW}")
    op.execute(f"ALTER VIEW {_OLD} ALTER COLUMN standby SET DEFAULT false")


def downgrade() -> None:
    op.execute(f"DROP VIEW {_OLD}")
    _rename(_NEW, _OLD)


def _rename(old: str, new: str) -> None:
    op.rename_table(old, new)
    for name in _CONSTRAINTS:
        op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {name.format(old)} TO {name.format(new)}")
    op.execute(f"ALTER INDEX {_INDEX.format(old)} RENAME TO {_INDEX.format(new)}")

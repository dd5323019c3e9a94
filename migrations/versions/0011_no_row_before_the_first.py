"""No row of the log before its first entry: whoever got hold of a gateway's login could put one where no check of the log reached."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
oldest_build = "0007"

PLACES = {"audit_event": "idx", "audit_block": "first", "audit_ref": "idx"}


def upgrade() -> None:
    """Let none be added. Rows that are there already are not looked at: that is for a check of the log, which names them."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, place in PLACES.items():
        if is_sqlite:
            refuse = "BEGIN SELECT RAISE(ABORT, 'no entry has a negative index'); END"
            op.execute(f"CREATE TRIGGER {table}_not_before BEFORE INSERT ON {table} WHEN NEW.{place} < 0 {refuse}")
        else:
            op.execute(f"CREATE POLICY not_before ON {table} AS RESTRICTIVE FOR INSERT WITH CHECK ({place} >= 0)")


def downgrade() -> None:
    """Let any be added."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table in PLACES:
        op.execute(f"DROP TRIGGER {table}_not_before" if is_sqlite else f"DROP POLICY not_before ON {table}")

"""No checkpoint over entries that the log does not have: whoever got hold of the signer's login could stop an installation with one."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
oldest_build = "0007"


def upgrade() -> None:
    """On PostgreSQL, the only one with logins, let none be added that is larger than its log."""
    if op.get_bind().dialect.name != "sqlite":
        op.execute(
            "CREATE POLICY not_ahead ON audit_checkpoint AS RESTRICTIVE FOR INSERT"
            " WITH CHECK (size <= (SELECT h.size FROM audit_head h WHERE h.log = audit_checkpoint.log))"
        )


def downgrade() -> None:
    """Let any be added."""
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP POLICY not_ahead ON audit_checkpoint")

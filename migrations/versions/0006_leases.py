"""Work shared by several processes: leases, jobs with a rank and a time before which they are not tried again."""

import sqlalchemy as sa
from alembic import op

from app.storage.online import create_index, drop_index
from app.storage.types import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TENANT = "current_setting('portcullis.tenant', true)"


def upgrade() -> None:
    """Add the table, the columns (a constant default rewrites no row on PostgreSQL) and the index that serves the head of the queue."""
    op.create_table(
        "lease",
        sa.Column("tenant", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("holder", sa.String(length=80), nullable=False),
        sa.Column("expires_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_lease")),
    )
    op.add_column("job", sa.Column("priority", sa.Integer(), nullable=False, server_default="5"))
    op.add_column("job", sa.Column("due_at", UtcDateTime(timezone=True), nullable=True))
    if op.get_bind().dialect.name != "sqlite":
        op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON lease TO portcullis_gateway")
        op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON lease TO portcullis_signer")
        op.execute("ALTER TABLE lease ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY of_tenant ON lease USING (tenant = {TENANT}) WITH CHECK (tenant = {TENANT})")
    create_index(op, "ix_job_queue", "job", ["state", "kind", "priority", "created_at", "job_id"])
    drop_index(op, "ix_job_waiting", "job")


def downgrade() -> None:
    """Take them away."""
    create_index(op, "ix_job_waiting", "job", ["state", "kind", "created_at", "job_id"])
    drop_index(op, "ix_job_queue", "job")
    op.drop_column("job", "due_at")
    op.drop_column("job", "priority")
    op.drop_table("lease")

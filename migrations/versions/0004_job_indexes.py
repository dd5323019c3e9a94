"""The oldest job that waits is the head of an index, however many wait, and jobs are found by their document."""

from alembic import op

from app.storage.online import create_index, drop_index

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both indexes."""
    create_index(op, "ix_job_waiting", "job", ["state", "kind", "created_at", "job_id"])
    create_index(op, "ix_job_document", "job", ["document_id", "version"])


def downgrade() -> None:
    """Take them away."""
    drop_index(op, "ix_job_document", "job")
    drop_index(op, "ix_job_waiting", "job")

"""Sessions that the issuer ended, kept for a while: a sign-in that was exchanging its code at that moment must not open one of them."""

import sqlalchemy as sa
from alembic import op

from app.storage.types import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
oldest_build = "0007"

ALLOWED = "(SELECT portcullis_tenant())"


def upgrade() -> None:
    """Add the table, with the rows of one tenant on PostgreSQL."""
    op.create_table(
        "ended_session",
        sa.Column("tenant", sa.String(length=200), nullable=False),
        sa.Column("sid_digest", sa.String(length=80), nullable=False),
        sa.Column("subject_id", sa.String(length=400), nullable=False),
        sa.Column("issued_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("noted_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "sid_digest", "subject_id", "issued_at", name=op.f("pk_ended_session")),
    )
    if op.get_bind().dialect.name != "sqlite":
        op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ended_session TO portcullis_gateway")
        op.execute("ALTER TABLE ended_session ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY of_tenant ON ended_session USING (tenant = {ALLOWED}) WITH CHECK (tenant = {ALLOWED})")


def downgrade() -> None:
    """Take it away; what was in it mattered for minutes."""
    op.drop_table("ended_session")

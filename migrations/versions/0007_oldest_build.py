"""Which builds a schema serves besides the newest: what lets two neighbouring releases work on one database.

The environment writes `oldest_build` of the revision that was reached into the table. A build that does not know that revision reads it:
when it names a revision that the build does know, the schema only has more than the build needs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
oldest_build = "0007"

READERS = ("portcullis_gateway", "portcullis_auditor", "portcullis_eraser", "portcullis_signer")


def upgrade() -> None:
    """Add the table; like `alembic_version` it belongs to the schema and holds nothing of any tenant."""
    op.create_table("schema_compatibility", sa.Column("oldest_build", sa.String(length=32), nullable=False))
    if op.get_bind().dialect.name != "sqlite":
        for role in READERS:
            op.execute(f"GRANT SELECT ON schema_compatibility TO {role}")


def downgrade() -> None:
    """Take it away."""
    op.drop_table("schema_compatibility")

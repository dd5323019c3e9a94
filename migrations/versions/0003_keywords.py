"""A version keeps its keywords and the personal data in them, so that the search index can be rebuilt from the database alone."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns; a constant default rewrites no row on PostgreSQL."""
    op.add_column("document_version", sa.Column("keywords", sa.Text(), nullable=False, server_default=""))
    op.add_column("document_version", sa.Column("keyword_spans", sa.JSON(), nullable=False, server_default=sa.text("'[]'")))


def downgrade() -> None:
    """Take them away. In place: a copy of the table would lose what refers to it."""
    op.drop_column("document_version", "keyword_spans")
    op.drop_column("document_version", "keywords")

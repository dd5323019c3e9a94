"""${message}."""

import sqlalchemy as sa
from alembic import op

from app.storage.types import UtcDateTime

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None
oldest_build = ${repr(up_revision)}  # Of a revision that only adds: the `oldest_build` of the one before.


def upgrade() -> None:
    """Bring the schema forward."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Take the schema back."""
    ${downgrades if downgrades else "pass"}

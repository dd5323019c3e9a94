"""The release after this one, as far as a database can tell: its migrations, which are this one's and one more."""

import re
import shutil
from pathlib import Path

from tests.conformance.stores import MIGRATIONS

_REVISION = '''"""What the next release adds."""

import sqlalchemy as sa
from alembic import op

from app.storage.online import create_index, drop_index

revision = "next"
down_revision = "{head}"
branch_labels = None
depends_on = None
{oldest}


def upgrade():
    """Add a column every row gets a value for, one that may be empty, a table and an index."""
    op.add_column("document", sa.Column("next_rank", sa.Integer(), nullable=False, server_default="7"))
    op.add_column("answer", sa.Column("next_note", sa.String(length=20), nullable=True))
    op.create_table("next_things", sa.Column("thing", sa.String(length=20), primary_key=True))
    create_index(op, "ix_next_rank", "document", ["tenant", "next_rank"])


def downgrade():
    """Take them away."""
    drop_index(op, "ix_next_rank", "document")
    op.drop_table("next_things")
    op.drop_column("answer", "next_note")
    op.drop_column("document", "next_rank")
'''
_LAST = max((MIGRATIONS / "versions").glob("[0-9]*.py"))
HEAD = _LAST.name[:4]
_NAMED = re.search('^oldest_build = "(.+)"$', _LAST.read_text(encoding="utf-8"), re.MULTILINE)
OLDEST = _NAMED[1] if _NAMED else HEAD
"""The oldest build that this one's schema serves."""


def migrations_of_the_next_release(folder: Path, *, serves_this_one: bool = True) -> Path:
    """A folder of migrations whose last revision only adds (`serves_this_one`), or does not say so."""
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    oldest = f'oldest_build = "{HEAD}"' if serves_this_one else ""
    (folder / "versions" / "9999_next.py").write_text(_REVISION.format(head=HEAD, oldest=oldest), encoding="utf-8")
    return folder

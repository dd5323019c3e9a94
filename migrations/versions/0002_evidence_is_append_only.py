"""Evidence is append-only: a change or removal of a logged row is refused by the database itself.

Triggers prevent accidents; intent is caught by the proofs, since an owner of the database can drop a trigger.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

EVIDENCE = ("audit_event", "audit_block", "audit_ref", "audit_checkpoint")
REFUSAL = "evidence is append-only"


def upgrade() -> None:
    """Add the guards."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if not is_sqlite:
        op.execute(
            "CREATE FUNCTION portcullis_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
        )
    for table in EVIDENCE:
        for verb in ("UPDATE", "DELETE"):
            body = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END" if is_sqlite else "FOR EACH STATEMENT EXECUTE FUNCTION portcullis_refuse_change()"
            op.execute(f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} {body}")


def downgrade() -> None:
    """Take the guards away."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table in EVIDENCE:
        for verb in ("UPDATE", "DELETE"):
            op.execute(f"DROP TRIGGER {table}_no_{verb.lower()}" + ("" if is_sqlite else f" ON {table}"))
    if not is_sqlite:
        op.execute("DROP FUNCTION portcullis_refuse_change()")

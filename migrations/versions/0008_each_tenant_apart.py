"""Rows of one tenant in the last tables, logins bound to tenants, and what the issuer's clock and name for a session are.

The build before this one goes on working: what it does not write is filled in by the database or read as it was.
"""

import sqlalchemy as sa
from alembic import op

from app.storage.online import create_index
from app.storage.types import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
oldest_build = "0007"

NAME, DIGEST = sa.String(length=200), sa.String(length=80)
NEXT_KEY = "audit_checkpoint_next_key"
UNDER_WAY = ("pending_question", "login_attempt")
OF_TENANT = (
    "policy_state", "collection", "document", "job", "idempotency", "web_session", "known_subject",
    "conversation", "answer", "feedback", "access_request", "tenant_state", "lease",
)  # fmt: skip
OF_LOG = ("audit_event", "audit_block", "audit_ref", "audit_checkpoint", "audit_head")
NEWLY_CLOSED = ("policy_bundle", *UNDER_WAY)
SAID = "current_setting('portcullis.tenant', true)"
ALLOWED = "(SELECT portcullis_tenant())"
"""Asked once a statement, not once a row."""
TENANT_OF_LOGIN = f"""
CREATE FUNCTION portcullis_tenant() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {SAID} WHERE NOT EXISTS (SELECT FROM public.tenant_login)
        OR EXISTS (SELECT FROM public.tenant_login WHERE login = session_user::text AND tenant = {SAID})
$$
"""  # noqa: S608 - names of this page


def upgrade() -> None:
    """Close what was open."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if not is_sqlite:
        # First of all, for it is committed by itself: the table that every sign-in and every proof reads is locked for a moment only.
        create_index(op, NEXT_KEY, "audit_checkpoint", ["log", "size", "signed_at"], unique=True)
    op.create_table(
        "tenant_login",
        sa.Column("login", NAME, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.PrimaryKeyConstraint("login", "tenant", name=op.f("pk_tenant_login")),
        # Left by a step back.
        if_not_exists=True,
    )
    for table in UNDER_WAY:
        op.add_column(table, sa.Column("tenant", NAME, nullable=False, server_default=""))
        op.execute(f"UPDATE {table} SET tenant = (SELECT min(tenant) FROM policy_state) WHERE (SELECT count(*) FROM policy_state) = 1")  # noqa: S608 - names of this page
    op.add_column("web_session", sa.Column("sid_digest", DIGEST, nullable=True))
    op.add_column("web_session", sa.Column("issued_at", UtcDateTime(timezone=True), nullable=True))
    op.add_column("job", sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"))
    if is_sqlite:
        _rebuild(["tenant", "digest"])
        _rebuild_checkpoints(["log", "size", "signed_at"])
        return
    # After a loss that somebody acknowledged, the log may reach a size anew under another root.
    op.execute(
        "ALTER TABLE audit_checkpoint DROP CONSTRAINT pk_audit_checkpoint,"
        f" ADD CONSTRAINT pk_audit_checkpoint PRIMARY KEY USING INDEX {NEXT_KEY}"
    )
    op.execute("ALTER TABLE policy_state DROP CONSTRAINT fk_policy_state_digest")
    op.execute("ALTER TABLE policy_bundle DROP CONSTRAINT pk_policy_bundle, ADD CONSTRAINT pk_policy_bundle PRIMARY KEY (tenant, digest)")
    op.execute(
        "INSERT INTO policy_bundle (tenant, digest, files, created_at)"
        " SELECT s.tenant, b.digest, b.files, b.created_at FROM policy_state s JOIN policy_bundle b ON b.digest = s.digest"
        " ON CONFLICT DO NOTHING"
    )
    op.execute(
        "ALTER TABLE policy_state ADD CONSTRAINT fk_policy_state_tenant_digest"
        " FOREIGN KEY (tenant, digest) REFERENCES policy_bundle (tenant, digest)"
    )
    for table in UNDER_WAY:
        op.execute(f"ALTER TABLE {table} ALTER tenant SET DEFAULT {SAID}")
    op.execute(TENANT_OF_LOGIN)
    for table in NEWLY_CLOSED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY of_tenant ON {table} USING (tenant = {ALLOWED}) WITH CHECK (tenant = {ALLOWED})")
    _let_see(ALLOWED)
    # The signer may stop a tenant, and nobody but the owner may let it go on.
    op.execute("CREATE POLICY stops_only ON tenant_state AS RESTRICTIVE TO portcullis_signer USING (true) WITH CHECK (is_read_only)")
    op.execute(
        "CREATE POLICY of_the_signer ON lease AS RESTRICTIVE"
        " USING (name <> 'signer' OR pg_has_role('portcullis_signer', 'USAGE'))"
        " WITH CHECK (name <> 'signer' OR pg_has_role('portcullis_signer', 'USAGE'))"
    )


def downgrade() -> None:
    """Open it again. Of policy files that several tenants have, one copy stays."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        _rebuild(["digest"])
        _rebuild_checkpoints(["log", "size"])
    else:
        _thin_out()
        op.execute("ALTER TABLE audit_checkpoint DROP CONSTRAINT pk_audit_checkpoint, ADD CONSTRAINT pk_audit_checkpoint PRIMARY KEY (log, size)")
        op.execute("DROP POLICY of_the_signer ON lease")
        op.execute("DROP POLICY stops_only ON tenant_state")
        _let_see(SAID)
        for table in NEWLY_CLOSED:
            op.execute(f"DROP POLICY of_tenant ON {table}")
            op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        op.execute("DROP FUNCTION portcullis_tenant()")
        op.execute("ALTER TABLE policy_state DROP CONSTRAINT fk_policy_state_tenant_digest")
        op.execute("DELETE FROM policy_bundle b USING policy_bundle other WHERE b.digest = other.digest AND b.tenant > other.tenant")
        op.execute("ALTER TABLE policy_bundle DROP CONSTRAINT pk_policy_bundle, ADD CONSTRAINT pk_policy_bundle PRIMARY KEY (digest)")
        op.execute(
            "ALTER TABLE policy_state ADD CONSTRAINT fk_policy_state_digest FOREIGN KEY (digest) REFERENCES policy_bundle (digest)"
        )
    op.drop_column("job", "fence")
    op.drop_column("web_session", "issued_at")
    op.drop_column("web_session", "sid_digest")
    for table in UNDER_WAY:
        op.drop_column(table, "tenant")
    # Bindings of logins stay, for nobody would notice that they are gone after a step forward again.
    if op.get_bind().execute(sa.text("SELECT count(*) FROM tenant_login")).scalar() == 0:
        op.drop_table("tenant_login")


def _let_see(tenant: str) -> None:
    rules = {**dict.fromkeys(OF_TENANT, f"tenant = {tenant}"), **dict.fromkeys(OF_LOG, f"log = 'portcullis/' || {tenant}")}
    for table, rule in rules.items():
        op.execute(f"ALTER POLICY of_tenant ON {table} USING ({rule}) WITH CHECK ({rule})")


def _thin_out() -> None:
    """Of several checkpoints of one size the newest stays; its guards are lifted for this one statement."""
    op.execute("ALTER TABLE audit_checkpoint DISABLE TRIGGER USER")
    op.execute(
        "DELETE FROM audit_checkpoint c USING audit_checkpoint later"
        " WHERE c.log = later.log AND c.size = later.size AND c.signed_at < later.signed_at"
    )
    for verb in ("update", "delete", "truncate"):
        op.execute(f"ALTER TABLE audit_checkpoint ENABLE ALWAYS TRIGGER audit_checkpoint_no_{verb}")


def _rebuild_checkpoints(key: list[str]) -> None:
    op.create_table(
        "audit_checkpoint_next",
        sa.Column("log", NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("signed_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_audit_checkpoint")),
    )
    op.execute("INSERT OR REPLACE INTO audit_checkpoint_next SELECT log, size, note, signed_at FROM audit_checkpoint ORDER BY signed_at")
    op.drop_table("audit_checkpoint")
    op.rename_table("audit_checkpoint_next", "audit_checkpoint")
    for verb in ("UPDATE", "DELETE"):
        refuse = "BEGIN SELECT RAISE(ABORT, 'evidence is append-only'); END"
        op.execute(f"CREATE TRIGGER audit_checkpoint_no_{verb.lower()} BEFORE {verb} ON audit_checkpoint {refuse}")


def _rebuild(key: list[str]) -> None:
    """SQLite changes no keys: both tables are made anew, with all their rows."""
    op.create_table(
        "policy_bundle_next",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_policy_bundle")),
    )
    op.create_table(
        "policy_state_next",
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("activated_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("author", sa.String(length=300), nullable=False),
        sa.Column("approver", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(key, [f"policy_bundle.{one}" for one in key], name=op.f(f"fk_policy_state_{'_'.join(key)}")),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_policy_state")),
    )
    bundles, states = "digest, tenant, files, created_at", "tenant, epoch, digest, activated_at, author, approver"
    op.execute(f"INSERT OR IGNORE INTO policy_bundle_next ({bundles}) SELECT {bundles} FROM policy_bundle")  # noqa: S608 - names of this page
    if "tenant" in key:
        op.execute(
            f"INSERT OR IGNORE INTO policy_bundle_next ({bundles}) SELECT b.digest, s.tenant, b.files, b.created_at"  # noqa: S608 - names of this page
            " FROM policy_state s JOIN policy_bundle b ON b.digest = s.digest"
        )
    op.execute(f"INSERT INTO policy_state_next ({states}) SELECT {states} FROM policy_state")  # noqa: S608 - names of this page
    for table in ("policy_state", "policy_bundle"):
        op.drop_table(table)
    for table in ("policy_bundle", "policy_state"):
        op.rename_table(f"{table}_next", table)

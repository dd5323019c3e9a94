"""PostgreSQL: who may do what, and rows of one tenant only. A second wall behind the gateway's own checks; SQLite has neither.

Roles are groups without a login, made once a cluster: an operator makes logins and puts each into one of them. Whoever runs this needs
CREATEROLE, or finds the roles made already.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ROLES = ("portcullis_owner", "portcullis_gateway", "portcullis_auditor", "portcullis_eraser", "portcullis_signer")
EVIDENCE = ("audit_event", "audit_block", "audit_ref", "audit_checkpoint")
CONTENT = ("document_version", "chunk")
OF_TENANT = (
    "policy_state", "collection", "document", "job", "idempotency", "web_session", "known_subject",
    "conversation", "answer", "feedback", "access_request", "tenant_state",
)  # fmt: skip
SHARED = ("policy_bundle", "pending_question", "login_attempt")
"""Bundles are named by their digest and questions and sign-ins by secrets: nobody finds one without knowing its name."""

TENANT = "current_setting('portcullis.tenant', true)"
OF_DOCUMENT = "EXISTS (SELECT 1 FROM document d WHERE d.document_id = {}.document_id)"
"""The document's own rule applies inside."""
TABLES = (*OF_TENANT, *SHARED, *CONTENT, *EVIDENCE, "audit_head")
GRANTS = {
    "portcullis_gateway": {
        "SELECT, INSERT, UPDATE, DELETE": (*(table for table in OF_TENANT if table != "tenant_state"), *SHARED, *CONTENT),
        "SELECT, INSERT": ("audit_event", "audit_block", "audit_ref"),
        "SELECT, INSERT, UPDATE": ("audit_head",),
        "SELECT": ("audit_checkpoint", "tenant_state", "alembic_version"),
    },
    "portcullis_auditor": {"SELECT": (*EVIDENCE, "audit_head", "policy_bundle", "policy_state", "alembic_version")},
    "portcullis_eraser": {
        "SELECT, DELETE": ("document_version", "chunk", "conversation", "answer", "feedback", "known_subject", "web_session"),
        "SELECT": ("document", "alembic_version"),
    },
    "portcullis_signer": {
        "SELECT": (*EVIDENCE, "audit_head", "alembic_version"),
        "INSERT": ("audit_checkpoint",),
        "SELECT, INSERT, UPDATE": ("tenant_state",),
    },
}


def upgrade() -> None:
    """Make roles, hand them their rights, close the tables."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for role in ROLES:
        op.execute(
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN NOBYPASSRLS; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    op.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    for role, rights in GRANTS.items():
        op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        for what, tables in rights.items():
            op.execute(f"GRANT {what} ON {', '.join(tables)} TO {role}")
    rules = {
        **dict.fromkeys(OF_TENANT, f"tenant = {TENANT}"),
        **dict.fromkeys((*EVIDENCE, "audit_head"), f"log = 'portcullis/' || {TENANT}"),
        **{table: OF_DOCUMENT.format(table) for table in CONTENT},
    }
    for table, rule in rules.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY of_tenant ON {table} USING ({rule}) WITH CHECK ({rule})")
    for table in EVIDENCE:
        op.execute(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION portcullis_refuse_change()")
        for verb in ("update", "delete", "truncate"):
            # Also where a session plays a replica, which skips ordinary triggers.
            op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_{verb}")
    _hand_over("portcullis_owner")
    # What later revisions make belongs to the owner too.
    op.execute("SET ROLE portcullis_owner")


def downgrade() -> None:
    """Open the tables again. The roles stay: other databases of the cluster may use them."""
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute("RESET ROLE")
    _hand_over("CURRENT_USER")
    for table in EVIDENCE:
        op.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
        for verb in ("update", "delete"):
            op.execute(f"ALTER TABLE {table} ENABLE TRIGGER {table}_no_{verb}")
    for table in (*OF_TENANT, *CONTENT, *EVIDENCE, "audit_head"):
        op.execute(f"DROP POLICY of_tenant ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for role in GRANTS:
        op.execute(f"REVOKE ALL ON {', '.join((*TABLES, 'alembic_version'))} FROM {role}")
        op.execute(f"REVOKE USAGE ON SCHEMA public FROM {role}")


def _hand_over(owner: str) -> None:
    if owner != "CURRENT_USER":
        op.execute(f"GRANT {owner} TO CURRENT_USER")
        op.execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {owner}")
    for table in (*TABLES, "alembic_version"):
        op.execute(f"ALTER TABLE {table} OWNER TO {owner}")
    op.execute(f"ALTER FUNCTION portcullis_refuse_change() OWNER TO {owner}")

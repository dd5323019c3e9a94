"""The whole schema on one page: what the gateway keeps, for SQLite and PostgreSQL alike. No type of one engine only."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from app.storage.types import UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
ID = String(80)
NAME = String(200)
DIGEST = String(80)

# ---- policy -------------------------------------------------------------------------------------------------------
policy_bundle = Table(
    "policy_bundle",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("digest", DIGEST, primary_key=True),
    Column("files", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
policy_state = Table(
    "policy_state",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("activated_at", UtcDateTime, nullable=False),
    Column("author", String(300), nullable=False),
    Column("approver", String(300), nullable=False),
    ForeignKeyConstraint(["tenant", "digest"], ["policy_bundle.tenant", "policy_bundle.digest"]),
)

# ---- content ------------------------------------------------------------------------------------------------------
collection = Table(
    "collection",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("title", String(300), nullable=False),
    Column("steward", String(300), nullable=False),
    Column("default_label", NAME, nullable=False),
    Column("languages", JSON, nullable=False),
    Column("retention_days", Integer),
    Column("redaction_profile", NAME, nullable=False),
    Column("model_routing", NAME, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
document = Table(
    "document",
    metadata,
    Column("document_id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("collection", NAME, nullable=False),
    Column("external_id", String(1024), nullable=False),
    Column("title", String(1024), nullable=False),
    Column("state", String(20), nullable=False),
    Column("live_version", Integer),
    Column("last_version", Integer, nullable=False),
    Column("label", NAME, nullable=False),
    Column("sensitivity", Integer, nullable=False),
    Column("acl_mode", String(20), nullable=False),
    Column("acl_allow", JSON, nullable=False),
    Column("acl_deny", JSON, nullable=False),
    Column("acl_version", Integer, nullable=False),
    Column("language", String(12), nullable=False),
    Column("source_uri", String(2048), nullable=False),
    Column("valid_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("tenant", "collection", "external_id"),
    Index("ix_document_collection_state", "tenant", "collection", "state"),
)
document_version = Table(
    "document_version",
    metadata,
    Column("document_id", ID, ForeignKey("document.document_id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("title", String(1024), nullable=False),
    Column("title_spans", JSON, nullable=False),
    Column("source_spans", JSON, nullable=False),
    Column("keywords", Text, nullable=False, server_default=""),
    Column("keyword_spans", JSON, nullable=False, server_default="[]"),
    Column("text", Text, nullable=False),
    Column("spans", JSON, nullable=False),
    Column("content_sha256", DIGEST, nullable=False),
    Column("media_type", NAME, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("detector_digest", DIGEST, nullable=False),
    Column("embedder_digest", DIGEST),
    Column("submitted_by", String(400), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
chunk = Table(
    "chunk",
    metadata,
    Column("chunk_id", String(120), primary_key=True),
    Column("document_id", ID, nullable=False),
    Column("version", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("spans", JSON, nullable=False),
    Column("ranges", JSON, nullable=False),
    Column("heading_path", JSON, nullable=False),
    Column("heading_spans", JSON, nullable=False),
    Column("sentences", JSON, nullable=False),
    Column("section", Integer, nullable=False),
    Index("ix_chunk_document", "document_id", "version"),
)

# ---- work ---------------------------------------------------------------------------------------------------------
job = Table(
    "job",
    metadata,
    Column("job_id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("state", String(20), nullable=False),
    Column("submitted_by", String(400), nullable=False),
    Column("document_id", ID),
    Column("version", Integer),
    Column("payload", JSON, nullable=False),
    Column("content", LargeBinary),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("unit", String(20), nullable=False),
    Column("error", Text),
    Column("attempts", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_until", UtcDateTime),
    Column("priority", Integer, nullable=False, server_default="5"),
    Column("due_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_job_state_created", "state", "created_at"),
    Index("ix_job_queue", "state", "kind", "priority", "created_at", "job_id"),
    Index("ix_job_document", "document_id", "version"),
)
lease = Table(
    "lease",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("name", String(60), primary_key=True),
    Column("holder", String(80), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)
idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("subject_id", String(400), primary_key=True),
    Column("route", String(200), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("body_digest", DIGEST, nullable=False),
    Column("status", Integer),
    Column("response", JSON),
    Column("created_at", UtcDateTime, nullable=False),
)

# ---- people -------------------------------------------------------------------------------------------------------
web_session = Table(
    "web_session",
    metadata,
    Column("session_digest", DIGEST, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("subject_id", String(400), nullable=False),
    Column("claims", JSON, nullable=False),
    Column("csrf_token", String(100), nullable=False),
    Column("sid_digest", DIGEST),
    Column("issued_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)
ended_session = Table(
    # What the issuer ended a while ago: its name for one session, a subject, or both; empty where it named none.
    "ended_session",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("sid_digest", DIGEST, primary_key=True),
    Column("subject_id", String(400), primary_key=True),
    Column("issued_at", UtcDateTime, primary_key=True),
    Column("noted_at", UtcDateTime, nullable=False),
)
known_subject = Table(
    "known_subject",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("subject_id", String(400), primary_key=True),
    Column("claims", JSON, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)
pending_question = Table(
    "pending_question",
    metadata,
    Column("question_id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("session_digest", DIGEST, nullable=False),
    Column("body", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
login_attempt = Table(
    "login_attempt",
    metadata,
    Column("state_digest", DIGEST, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("nonce", String(100), nullable=False),
    Column("code_verifier", String(200), nullable=False),
    Column("next_path", String(500), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
conversation = Table(
    "conversation",
    metadata,
    Column("conversation_id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("subject_id", String(400), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_conversation_subject", "tenant", "subject_id", "updated_at"),
)
answer = Table(
    "answer",
    metadata,
    Column("answer_id", ID, primary_key=True),
    Column("conversation_id", ID, ForeignKey("conversation.conversation_id"), nullable=False),
    Column("tenant", NAME, nullable=False),
    Column("subject_id", String(400), nullable=False),
    Column("question", Text, nullable=False),
    Column("body", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_answer_conversation", "conversation_id", "created_at"),
)
feedback = Table(
    "feedback",
    metadata,
    Column("feedback_id", ID, primary_key=True),
    Column("answer_id", ID, ForeignKey("answer.answer_id"), nullable=False),
    Column("tenant", NAME, nullable=False),
    Column("subject_id", String(400), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
access_request = Table(
    "access_request",
    metadata,
    Column("request_id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("subject_id", String(400), nullable=False),
    Column("wanted", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# ---- evidence: rows of audit_event, audit_block and audit_ref are never changed or removed (triggers in the migration) --
audit_head = Table(
    "audit_head",
    metadata,
    Column("log", NAME, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("last_recorded_at", UtcDateTime, nullable=False),
)
audit_block = Table(
    "audit_block",
    metadata,
    Column("log", NAME, primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("chain", LargeBinary, nullable=False),
)
audit_event = Table(
    "audit_event",
    metadata,
    Column("log", NAME, primary_key=True),
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", ID, nullable=False),
    Column("type", String(60), nullable=False),
    Column("actor", String(400), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    UniqueConstraint("event_id"),
    Index("ix_audit_event_actor", "log", "actor", "idx"),
    Index("ix_audit_event_type", "log", "type", "idx"),
    Index("ix_audit_event_recorded_at", "log", "recorded_at"),
)
audit_ref = Table(
    "audit_ref",
    metadata,
    Column("log", NAME, primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("ref", String(400), primary_key=True),
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
)
audit_checkpoint = Table(
    "audit_checkpoint",
    metadata,
    Column("log", NAME, primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("signed_at", UtcDateTime, primary_key=True),
)
tenant_login = Table(
    # Which logins of PostgreSQL see which tenant, kept by the owner; empty, each sees the tenant it says.
    "tenant_login",
    metadata,
    Column("login", NAME, primary_key=True),
    Column("tenant", NAME, primary_key=True),
)
tenant_state = Table(
    "tenant_state",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("is_read_only", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
)

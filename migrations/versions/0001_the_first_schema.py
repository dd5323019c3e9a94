"""The first schema."""

import sqlalchemy as sa
from alembic import op

from app.storage.types import UtcDateTime

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table('access_request',
    sa.Column('request_id', sa.String(length=80), nullable=False),
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('subject_id', sa.String(length=400), nullable=False),
    sa.Column('wanted', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('request_id', name=op.f('pk_access_request'))
    )
    op.create_table('audit_block',
    sa.Column('log', sa.String(length=200), nullable=False),
    sa.Column('first', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('count', sa.Integer(), nullable=False),
    sa.Column('root', sa.LargeBinary(), nullable=False),
    sa.Column('chain', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('log', 'first', name=op.f('pk_audit_block'))
    )
    op.create_table('audit_checkpoint',
    sa.Column('log', sa.String(length=200), nullable=False),
    sa.Column('size', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('note', sa.Text(), nullable=False),
    sa.Column('signed_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('log', 'size', name=op.f('pk_audit_checkpoint'))
    )
    op.create_table('audit_event',
    sa.Column('log', sa.String(length=200), nullable=False),
    sa.Column('idx', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('event_id', sa.String(length=80), nullable=False),
    sa.Column('type', sa.String(length=60), nullable=False),
    sa.Column('actor', sa.String(length=400), nullable=False),
    sa.Column('outcome', sa.String(length=20), nullable=False),
    sa.Column('recorded_at', UtcDateTime(timezone=True), nullable=False),
    sa.Column('leaf', sa.LargeBinary(), nullable=False),
    sa.Column('leaf_hash', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('log', 'idx', name=op.f('pk_audit_event')),
    sa.UniqueConstraint('event_id', name=op.f('uq_audit_event_event_id'))
    )
    with op.batch_alter_table('audit_event', schema=None) as batch_op:
        batch_op.create_index('ix_audit_event_actor', ['log', 'actor', 'idx'], unique=False)
        batch_op.create_index('ix_audit_event_recorded_at', ['log', 'recorded_at'], unique=False)
        batch_op.create_index('ix_audit_event_type', ['log', 'type', 'idx'], unique=False)

    op.create_table('audit_head',
    sa.Column('log', sa.String(length=200), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('chain', sa.LargeBinary(), nullable=False),
    sa.Column('last_recorded_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('log', name=op.f('pk_audit_head'))
    )
    op.create_table('audit_ref',
    sa.Column('log', sa.String(length=200), nullable=False),
    sa.Column('kind', sa.String(length=20), nullable=False),
    sa.Column('ref', sa.String(length=400), nullable=False),
    sa.Column('idx', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint('log', 'kind', 'ref', 'idx', name=op.f('pk_audit_ref'))
    )
    op.create_table('chunk',
    sa.Column('chunk_id', sa.String(length=120), nullable=False),
    sa.Column('document_id', sa.String(length=80), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('ordinal', sa.Integer(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('spans', sa.JSON(), nullable=False),
    sa.Column('ranges', sa.JSON(), nullable=False),
    sa.Column('heading_path', sa.JSON(), nullable=False),
    sa.Column('heading_spans', sa.JSON(), nullable=False),
    sa.Column('sentences', sa.JSON(), nullable=False),
    sa.Column('section', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('chunk_id', name=op.f('pk_chunk'))
    )
    with op.batch_alter_table('chunk', schema=None) as batch_op:
        batch_op.create_index('ix_chunk_document', ['document_id', 'version'], unique=False)

    op.create_table('collection',
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('name', sa.String(length=200), nullable=False),
    sa.Column('title', sa.String(length=300), nullable=False),
    sa.Column('steward', sa.String(length=300), nullable=False),
    sa.Column('default_label', sa.String(length=200), nullable=False),
    sa.Column('languages', sa.JSON(), nullable=False),
    sa.Column('retention_days', sa.Integer(), nullable=True),
    sa.Column('redaction_profile', sa.String(length=200), nullable=False),
    sa.Column('model_routing', sa.String(length=200), nullable=False),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'name', name=op.f('pk_collection'))
    )
    op.create_table('conversation',
    sa.Column('conversation_id', sa.String(length=80), nullable=False),
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('subject_id', sa.String(length=400), nullable=False),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.Column('updated_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('conversation_id', name=op.f('pk_conversation'))
    )
    with op.batch_alter_table('conversation', schema=None) as batch_op:
        batch_op.create_index('ix_conversation_subject', ['tenant', 'subject_id', 'updated_at'], unique=False)

    op.create_table('document',
    sa.Column('document_id', sa.String(length=80), nullable=False),
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('collection', sa.String(length=200), nullable=False),
    sa.Column('external_id', sa.String(length=1024), nullable=False),
    sa.Column('title', sa.String(length=1024), nullable=False),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.Column('live_version', sa.Integer(), nullable=True),
    sa.Column('last_version', sa.Integer(), nullable=False),
    sa.Column('label', sa.String(length=200), nullable=False),
    sa.Column('sensitivity', sa.Integer(), nullable=False),
    sa.Column('acl_mode', sa.String(length=20), nullable=False),
    sa.Column('acl_allow', sa.JSON(), nullable=False),
    sa.Column('acl_deny', sa.JSON(), nullable=False),
    sa.Column('acl_version', sa.Integer(), nullable=False),
    sa.Column('language', sa.String(length=12), nullable=False),
    sa.Column('source_uri', sa.String(length=2048), nullable=False),
    sa.Column('valid_until', UtcDateTime(timezone=True), nullable=True),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.Column('updated_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('document_id', name=op.f('pk_document')),
    sa.UniqueConstraint('tenant', 'collection', 'external_id', name=op.f('uq_document_tenant_collection_external_id'))
    )
    with op.batch_alter_table('document', schema=None) as batch_op:
        batch_op.create_index('ix_document_collection_state', ['tenant', 'collection', 'state'], unique=False)

    op.create_table('idempotency',
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('subject_id', sa.String(length=400), nullable=False),
    sa.Column('route', sa.String(length=200), nullable=False),
    sa.Column('key', sa.String(length=200), nullable=False),
    sa.Column('body_digest', sa.String(length=80), nullable=False),
    sa.Column('status', sa.Integer(), nullable=True),
    sa.Column('response', sa.JSON(), nullable=True),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'subject_id', 'route', 'key', name=op.f('pk_idempotency'))
    )
    op.create_table('job',
    sa.Column('job_id', sa.String(length=80), nullable=False),
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('kind', sa.String(length=40), nullable=False),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.Column('submitted_by', sa.String(length=400), nullable=False),
    sa.Column('document_id', sa.String(length=80), nullable=True),
    sa.Column('version', sa.Integer(), nullable=True),
    sa.Column('payload', sa.JSON(), nullable=False),
    sa.Column('content', sa.LargeBinary(), nullable=True),
    sa.Column('done', sa.Integer(), nullable=False),
    sa.Column('total', sa.Integer(), nullable=False),
    sa.Column('unit', sa.String(length=20), nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('lease_until', UtcDateTime(timezone=True), nullable=True),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.Column('updated_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('job_id', name=op.f('pk_job'))
    )
    with op.batch_alter_table('job', schema=None) as batch_op:
        batch_op.create_index('ix_job_state_created', ['state', 'created_at'], unique=False)

    op.create_table('known_subject',
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('subject_id', sa.String(length=400), nullable=False),
    sa.Column('claims', sa.JSON(), nullable=False),
    sa.Column('seen_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'subject_id', name=op.f('pk_known_subject'))
    )
    op.create_table('login_attempt',
    sa.Column('state_digest', sa.String(length=80), nullable=False),
    sa.Column('nonce', sa.String(length=100), nullable=False),
    sa.Column('code_verifier', sa.String(length=200), nullable=False),
    sa.Column('next_path', sa.String(length=500), nullable=False),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('state_digest', name=op.f('pk_login_attempt'))
    )
    op.create_table('pending_question',
    sa.Column('question_id', sa.String(length=80), nullable=False),
    sa.Column('session_digest', sa.String(length=80), nullable=False),
    sa.Column('body', sa.JSON(), nullable=False),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('question_id', name=op.f('pk_pending_question'))
    )
    op.create_table('policy_bundle',
    sa.Column('digest', sa.String(length=80), nullable=False),
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('files', sa.JSON(), nullable=False),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('digest', name=op.f('pk_policy_bundle'))
    )
    op.create_table('tenant_state',
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('is_read_only', sa.Boolean(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', name=op.f('pk_tenant_state'))
    )
    op.create_table('web_session',
    sa.Column('session_digest', sa.String(length=80), nullable=False),
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('subject_id', sa.String(length=400), nullable=False),
    sa.Column('claims', sa.JSON(), nullable=False),
    sa.Column('csrf_token', sa.String(length=100), nullable=False),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.Column('expires_at', UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('session_digest', name=op.f('pk_web_session'))
    )
    op.create_table('answer',
    sa.Column('answer_id', sa.String(length=80), nullable=False),
    sa.Column('conversation_id', sa.String(length=80), nullable=False),
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('subject_id', sa.String(length=400), nullable=False),
    sa.Column('question', sa.Text(), nullable=False),
    sa.Column('body', sa.JSON(), nullable=False),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['conversation_id'], ['conversation.conversation_id'], name=op.f('fk_answer_conversation_id')),
    sa.PrimaryKeyConstraint('answer_id', name=op.f('pk_answer'))
    )
    with op.batch_alter_table('answer', schema=None) as batch_op:
        batch_op.create_index('ix_answer_conversation', ['conversation_id', 'created_at'], unique=False)

    op.create_table('document_version',
    sa.Column('document_id', sa.String(length=80), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('title', sa.String(length=1024), nullable=False),
    sa.Column('title_spans', sa.JSON(), nullable=False),
    sa.Column('source_spans', sa.JSON(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('spans', sa.JSON(), nullable=False),
    sa.Column('content_sha256', sa.String(length=80), nullable=False),
    sa.Column('media_type', sa.String(length=200), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('detector_digest', sa.String(length=80), nullable=False),
    sa.Column('embedder_digest', sa.String(length=80), nullable=True),
    sa.Column('submitted_by', sa.String(length=400), nullable=False),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['document_id'], ['document.document_id'], name=op.f('fk_document_version_document_id')),
    sa.PrimaryKeyConstraint('document_id', 'version', name=op.f('pk_document_version'))
    )
    op.create_table('policy_state',
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('epoch', sa.BigInteger(), nullable=False),
    sa.Column('digest', sa.String(length=80), nullable=False),
    sa.Column('activated_at', UtcDateTime(timezone=True), nullable=False),
    sa.Column('author', sa.String(length=300), nullable=False),
    sa.Column('approver', sa.String(length=300), nullable=False),
    sa.ForeignKeyConstraint(['digest'], ['policy_bundle.digest'], name=op.f('fk_policy_state_digest')),
    sa.PrimaryKeyConstraint('tenant', name=op.f('pk_policy_state'))
    )
    op.create_table('feedback',
    sa.Column('feedback_id', sa.String(length=80), nullable=False),
    sa.Column('answer_id', sa.String(length=80), nullable=False),
    sa.Column('tenant', sa.String(length=200), nullable=False),
    sa.Column('subject_id', sa.String(length=400), nullable=False),
    sa.Column('verdict', sa.String(length=20), nullable=False),
    sa.Column('note', sa.Text(), nullable=False),
    sa.Column('created_at', UtcDateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['answer_id'], ['answer.answer_id'], name=op.f('fk_feedback_answer_id')),
    sa.PrimaryKeyConstraint('feedback_id', name=op.f('pk_feedback'))
    )


def downgrade() -> None:
    """Take the schema back."""
    op.drop_table('feedback')
    op.drop_table('policy_state')
    op.drop_table('document_version')
    with op.batch_alter_table('answer', schema=None) as batch_op:
        batch_op.drop_index('ix_answer_conversation')

    op.drop_table('answer')
    op.drop_table('web_session')
    op.drop_table('tenant_state')
    op.drop_table('policy_bundle')
    op.drop_table('pending_question')
    op.drop_table('login_attempt')
    op.drop_table('known_subject')
    with op.batch_alter_table('job', schema=None) as batch_op:
        batch_op.drop_index('ix_job_state_created')

    op.drop_table('job')
    op.drop_table('idempotency')
    with op.batch_alter_table('document', schema=None) as batch_op:
        batch_op.drop_index('ix_document_collection_state')

    op.drop_table('document')
    with op.batch_alter_table('conversation', schema=None) as batch_op:
        batch_op.drop_index('ix_conversation_subject')

    op.drop_table('conversation')
    op.drop_table('collection')
    with op.batch_alter_table('chunk', schema=None) as batch_op:
        batch_op.drop_index('ix_chunk_document')

    op.drop_table('chunk')
    op.drop_table('audit_ref')
    op.drop_table('audit_head')
    with op.batch_alter_table('audit_event', schema=None) as batch_op:
        batch_op.drop_index('ix_audit_event_type')
        batch_op.drop_index('ix_audit_event_recorded_at')
        batch_op.drop_index('ix_audit_event_actor')

    op.drop_table('audit_event')
    op.drop_table('audit_checkpoint')
    op.drop_table('audit_block')
    op.drop_table('access_request')

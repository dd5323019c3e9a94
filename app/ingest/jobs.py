"""What is handed in, and the jobs made of it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from uuid_utils import uuid7

from app.domain.access import Acl, acl_to_json
from app.domain.content import Document
from app.domain.identity import Subject
from app.errors import InvalidInputError
from app.ingest.parsers.normalise import one_line
from app.storage.job_rows import Job, JobKind, JobState

_MOST_CHARS = {"file_name": 1_000, "media_type": 200, "title": 1_000, "source_uri": 2_048, "external_id": 1_000}
_MOST_BYTES_OF_ID = 2_000
"""It is part of a key, which PostgreSQL keeps in less than a third of a page."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A document handed in.

    `None` means for a label or an ACL the collection's default, for those and for the end of its validity what a known document has now;
    `has_no_end` takes that end away. For everything else it means what the content says.
    """

    collection: str
    content: bytes
    file_name: str
    media_type: str | None = None
    title: str | None = None
    label: str | None = None
    acl: Acl | None = None
    source_uri: str | None = None
    language: str | None = None
    valid_until: datetime | None = None
    has_no_end: bool = False
    external_id: str | None = None


def cleaned(submission: Submission) -> Submission:
    """The submission with its names as they are stored: invisible characters would hide a personal name from the detector.

    Raises InvalidInputError for one that is too long in that form.
    """
    clean = replace(
        submission,
        file_name=one_line(submission.file_name) or "document",
        title=one_line(submission.title or "") or None,
        source_uri=one_line(submission.source_uri or "") or None,
        external_id=one_line(submission.external_id or "") or None,
    )
    for name, most in _MOST_CHARS.items():
        if len(getattr(clean, name) or "") > most:
            message = f"{name} is longer than {most} characters."
            raise InvalidInputError(message, pointer=f"/{name}")
    if len((clean.external_id or "").encode("utf-8", "surrogatepass")) > _MOST_BYTES_OF_ID:
        message = f"external_id is longer than {_MOST_BYTES_OF_ID} bytes as UTF-8."
        raise InvalidInputError(message, pointer="/external_id")
    return clean


@dataclass(frozen=True, slots=True)
class HandedIn:
    """Under what a version was handed in: by whom, under which policy, and the label and ACL that the versions before it leave."""

    subject: Subject
    policy_digest: str
    label: str
    acl: Acl


def ingest_job(document: Document, version: int, submission: Submission, under: HandedIn) -> Job:
    """The job that turns a submission into a live version.

    `label` and `acl` are what the submitter asked for, `None` where they asked for nothing; `acl_version`, `label_before` and `acl_before`
    are those of the document then, so that a change of access made while the job waits is noticed.
    """
    subject = under.subject
    payload = {
        "policy": under.policy_digest,
        "submitter": {"principals": sorted(subject.principals), "clearance": subject.clearance, "purpose": subject.purpose},
        "file_name": submission.file_name,
        "media_type": submission.media_type,
        "title": submission.title,
        "label": submission.label,
        "label_before": under.label,
        "sensitivity": document.sensitivity,
        "acl": acl_to_json(submission.acl) if submission.acl else None,
        "acl_before": acl_to_json(under.acl),
        "acl_version": document.acl_version,
        "source_uri": submission.source_uri,
        "language": submission.language,
        "valid_until": submission.valid_until.isoformat() if submission.valid_until else None,
        "has_no_end": submission.has_no_end,
    }
    return replace(_job(JobKind.INGEST, subject.subject_id, document, version), payload=payload, content=submission.content)


def embed_job(submitted_by: str, document: Document, version: int) -> Job:
    """The job that adds vectors to a version that is already searchable by words."""
    return _job(JobKind.EMBED, submitted_by, document, version)


def _job(kind: JobKind, submitted_by: str, document: Document, version: int) -> Job:
    return Job(
        job_id=f"job_{uuid7()}",
        tenant=document.tenant,
        kind=kind,
        state=JobState.QUEUED,
        submitted_by=submitted_by,
        document_id=document.document_id,
        version=version,
        payload={},
        content=None,
        done=0,
        total=1 if kind is JobKind.INGEST else 0,
        unit="documents" if kind is JobKind.INGEST else "chunks",
        error=None,
        attempts=0,
        created_at=datetime.now(UTC),
    )

"""What a new version does to who may read its document, and the rights that this takes."""

import math
from dataclasses import replace

from app.domain.access import Acl, AclMode, Action, Outcome, Resource, acl_from_json
from app.domain.content import Document
from app.domain.identity import Principal, Subject, SubjectId
from app.errors import AccessDeniedError, InvalidInputError
from app.policy.bundle import Bundle
from app.policy.snapshot import Snapshot
from app.storage.job_rows import Job


def rights_to_replace(before: Document, after: Document, *, is_own: bool) -> list[tuple[Action, Resource]]:
    """What it takes to put a new version over a known document.

    Its ACL holds for whoever replaces it, except for who handed in its last version; a new label or ACL is a change of access like any
    other, or the right to add text would be one to open somebody else's.
    """
    resource = before.resource()
    wanted = [(Action.INGEST, replace(resource, acl=Acl.inherited()) if is_own else resource)]
    if (after.label, after.acl) != (before.label, before.acl):
        wanted += [(Action.ACL_WRITE, resource), (Action.ACL_WRITE, replace(after.resource(), acl=before.acl))]
    return wanted


def next_access(current: Document, job: Job, bundle: Bundle) -> tuple[str, Acl]:
    """Label and ACL of the new version: what was asked for with it, else what the document had when it was handed in.

    What was changed while the job waited is held against that, and the stricter stands: a revocation must not be undone by a document
    that was handed in before it, nor a stricter label be lost to a change made without knowing of the text. Raises InvalidInputError
    where nobody can say which label is stricter.
    """
    payload = job.payload
    label, acl, asked = current.label, current.acl, payload["label"]
    is_changed = current.acl_version != payload["acl_version"]
    # Jobs of an earlier release do not say what the document had.
    label_before, acl_before = payload.get("label_before"), payload.get("acl_before")
    if asked is None and label_before not in {None, label}:
        label = _stricter_label(label, label_before, bundle)
    elif asked not in {None, label}:
        label = _stricter_label(label, asked, bundle) if is_changed and label_before != label else asked
    if payload["acl"] is not None:
        wanted = acl_from_json(payload["acl"])
        acl = _stricter(acl, wanted) if is_changed else wanted
    elif acl_before is not None and acl_from_json(acl_before) != acl:
        acl = _stricter(acl, acl_from_json(acl_before))
    return label, acl


def check_rights(snapshot: Snapshot, job: Job, current: Document, after: Document) -> None:
    """Raise AccessDeniedError when policy is another one than when a version was handed in, and its submitter may no longer do so."""
    submitter = job.payload.get("submitter")
    if submitter is None or job.payload["policy"] == snapshot.digest:
        return
    subject = Subject(
        tenant=job.tenant,
        subject_id=SubjectId(job.submitted_by),
        display_name="",
        groups=(),
        roles=(),
        clearance=submitter["clearance"],
        purposes=frozenset(),
        principals=frozenset(map(Principal, submitter["principals"])),
        purpose=submitter["purpose"],
    )
    wanted = [(Action.INGEST, replace(after.resource(), acl=Acl.inherited()))]
    if current.live_version is not None and (job.payload["label"] or job.payload["acl"]):
        wanted += rights_to_replace(current, after, is_own=True)
    if any(snapshot.decide(subject, action, resource).outcome is Outcome.DENY for action, resource in wanted):
        message = "Whoever handed it in may no longer do so under this label and for these readers: have somebody do it who may."
        raise AccessDeniedError(message)


def _stricter_label(one: str, other: str, bundle: Bundle) -> str:
    """The label of higher rank; one that policy no longer knows opens nothing and ranks above all."""
    ranks = [math.inf if rank is None else rank for rank in map(bundle.rank, (one, other))]
    if ranks[0] == ranks[1]:
        message = (
            "The label that it was handed in under and the one that its document has now rank alike. Hand it in with one of them."
        )
        raise InvalidInputError(message)
    return one if ranks[0] > ranks[1] else other


def _stricter(one: Acl, other: Acl) -> Acl:
    """Readers whom both admit."""
    deny = one.deny | other.deny
    if AclMode.INHERIT in {one.mode, other.mode}:
        explicit = one if one.mode is AclMode.EXPLICIT else other
        return replace(explicit, deny=deny)
    return Acl(AclMode.EXPLICIT, one.allow & other.allow, deny)

"""Routes of documents, collections and jobs."""

from dataclasses import replace
from hashlib import sha256
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError
from starlette.datastructures import UploadFile

from app.api.asking import RECEIPT_HEADER
from app.api.dependencies import Calling, Wired
from app.api.idempotency import KeyHeader, once
from app.api.problems import pointer_of
from app.api.schemas import Body, Moment, Name
from app.domain.access import Acl, AclMode, acl_to_json
from app.domain.content import Collection, Document, DocumentId
from app.domain.identity import Principal
from app.errors import AccessDeniedError, InvalidInputError, LimitExceededError, NotFoundError, PortcullisError
from app.govern.collections import new_collection
from app.ingest.jobs import Submission, cleaned
from app.storage.job_rows import Job
from app.wiring import Services

router = APIRouter(prefix="/v1", tags=["documents"])
_NO_STORE = {"Cache-Control": "no-store"}
_MAX_BATCH_LINES = 1_000
_MAX_FIELD_CHARS = 2_048
PrincipalText = Annotated[str, StringConstraints(pattern=r"^(user|group|role):\S", max_length=512)]
_RETENTION = "Documents are withdrawn this many days after their last version was taken in."
Title = Annotated[str, StringConstraints(max_length=1_000)]


class AclBody(Body):
    """Readers of one document. `explicit` needs an allow principal; `deny` beats everything."""

    mode: AclMode = AclMode.INHERIT
    allow: list[PrincipalText] = Field(default_factory=list, max_length=1_000)
    deny: list[PrincipalText] = Field(default_factory=list, max_length=1_000)

    def value(self) -> Acl:
        """As policy takes it."""
        return Acl(self.mode, frozenset(map(Principal, self.allow)), frozenset(map(Principal, self.deny)))


class DocumentBody(Body):
    """A document handed in as JSON."""

    title: Title = ""
    text: Annotated[str, StringConstraints(min_length=1)]
    media_type: Annotated[str, StringConstraints(max_length=200)] = "text/markdown"
    label: Name | None = None
    acl: AclBody | None = None
    source_uri: Annotated[str, StringConstraints(max_length=2_048)] | None = None
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")] | None = None
    valid_until: Annotated[Moment | None, Field(description="Left out: as the version before it. Null: no end.")] = None
    external_id: Annotated[str, StringConstraints(min_length=1, max_length=1_000)] | None = None


class LabelBody(Body):
    """A new label."""

    label: Name


class CollectionBody(Body):
    """A collection to be made."""

    name: Name
    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    steward: Annotated[str, StringConstraints(max_length=300)] | None = None
    default_label: Name | None = None
    languages: list[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]] | None = Field(default=None, max_length=20)
    retention_days: int | None = Field(default=None, ge=1, le=36_500, description=_RETENTION)
    redaction_profile: Name | None = None
    model_routing: Name | None = None


class CollectionPatch(Body):
    """Settings of a collection to be changed."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    steward: Annotated[str, StringConstraints(max_length=300)] | None = None
    default_label: Name | None = None
    languages: list[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]] | None = Field(default=None, max_length=20)
    retention_days: int | None = Field(default=None, ge=1, le=36_500, description=_RETENTION)
    redaction_profile: Name | None = None
    model_routing: Name | None = None


@router.post("/collections/{collection}/documents", status_code=202)
async def submit(collection: str, request: Request, caller: Calling, services: Wired, idempotency_key: KeyHeader = None) -> dict[str, Any]:
    """Hand in one document: multipart with `file`, or JSON with `text`. Its job tells when it is searchable."""
    submission = await _submission(collection, request, services)
    # Not its bytes: a client that sends a form again puts another line between its parts.
    first = await once(request, services, caller, idempotency_key, _said(submission))

    async def work() -> dict[str, Any]:
        done = await services.submit.run(caller, _named(submission, first.name_of()))
        return {"document_id": done.document_id, "version": done.version, "job_id": done.job_id}

    return dict(await first.run(202, work))


@router.post("/collections/{collection}/documents:batch", status_code=202)
async def submit_batch(
    collection: str, request: Request, caller: Calling, services: Wired, idempotency_key: KeyHeader = None
) -> dict[str, Any]:
    """Hand in many documents as NDJSON, one JSON document a line. Each line is taken or refused by itself."""
    lines = [line for line in (await request.body()).split(b"\n") if line.strip()]
    if len(lines) > _MAX_BATCH_LINES:
        message = f"At most {_MAX_BATCH_LINES} documents a batch."
        raise LimitExceededError(message, is_size=True)
    first = await once(request, services, caller, idempotency_key)

    async def work() -> dict[str, Any]:
        items: list[dict[str, Any]] = []
        refusals: list[PortcullisError] = []
        for number, line in enumerate(lines):
            try:
                submission = _named(_from_json(collection, _parsed(line, f"/{number}")), first.name_of(number))
                done = await services.submit.run(caller, submission)
                items.append({"line": number, "document_id": done.document_id, "version": done.version, "job_id": done.job_id})
            except InvalidInputError as error:
                items.append({"line": number, "error": error.detail, "pointer": error.pointer})
            except (AccessDeniedError, NotFoundError) as error:
                refusals.append(error)
                items.append({"line": number, "error": error.detail})
        if refusals and len(refusals) == len(items):
            raise refusals[0]
        return {"items": items}

    return dict(await first.run(202, work))


@router.get("/jobs")
async def jobs(caller: Calling, services: Wired) -> dict[str, Any]:
    """Jobs that failed or were refused, latest first: your own, and those of documents that you may hand in."""
    return {"items": [job_view(one) for one in await services.jobs.troubled(caller)]}


@router.get("/jobs/{job_id}")
async def job(job_id: str, caller: Calling, services: Wired) -> dict[str, Any]:
    """Where a job stands: your own, or one of a document that you may hand in."""
    return job_view(await services.jobs.find(caller, job_id))


@router.post("/jobs/{job_id}/retry")
async def retry_job(job_id: str, caller: Calling, services: Wired) -> dict[str, Any]:
    """Try a failed job again from the start."""
    await services.jobs.retry(caller, job_id)
    return job_view(await services.jobs.find(caller, job_id))


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(job_id: str, caller: Calling, services: Wired) -> dict[str, Any]:
    """Call a job off, while it runs if need be. What was handed in with it is dropped."""
    await services.jobs.cancel(caller, job_id)
    return job_view(await services.jobs.find(caller, job_id))


@router.get("/documents")
async def documents(
    caller: Calling,
    services: Wired,
    collection: Annotated[str, Query(max_length=100)] = "",
    q: Annotated[str, Query(max_length=200, description="Words that the title must hold.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=80)] = None,
) -> Response:
    """Documents you may read, in order of arrival."""
    listing = await services.documents.listed(caller, collection, DocumentId(cursor) if cursor else None, limit)
    lines = listing.lines
    wanted = q.casefold().split()
    items = [
        document_view(one.document, one.title, one.source_uri) for one in lines if all(word in one.title.casefold() for word in wanted)
    ]
    return _json({"items": items, "next_cursor": lines[-1].document.document_id if len(lines) == limit else None}, listing.receipt_id)


@router.get("/documents/{document_id}")
async def document(document_id: str, caller: Calling, services: Wired) -> Response:
    """A document as you may see it. On record before it leaves."""
    opened = await services.documents.open(caller, DocumentId(document_id))
    view = document_view(opened.document, opened.title, opened.source_uri)
    view["text"] = opened.text.text
    view["hidden"] = [{"start": one.start, "end": one.end, "entity_type": one.entity_type} for one in opened.text.hidden]
    view["versions"] = [{"version": version, "created_at": moment} for version, moment in opened.versions]
    view["decision_id"] = opened.decision_id
    return _json(view, opened.receipt_id)


@router.put("/documents/{document_id}/acl")
async def change_acl(document_id: str, body: AclBody, caller: Calling, services: Wired) -> dict[str, Any]:
    """Replace a document's ACL; the next request of anyone is judged by it."""
    changed = await services.changes.change_acl(caller, DocumentId(document_id), body.value())
    return {"document_id": changed.document_id, "acl_version": changed.acl_version}


@router.put("/documents/{document_id}/label")
async def change_label(document_id: str, body: LabelBody, caller: Calling, services: Wired) -> dict[str, Any]:
    """Replace a document's label."""
    changed = await services.changes.change_label(caller, DocumentId(document_id), body.label)
    return {"document_id": changed.document_id, "label": changed.label}


@router.delete("/documents/{document_id}", status_code=204)
async def withdraw(document_id: str, caller: Calling, services: Wired) -> Response:
    """Withdraw a document at once."""
    await services.changes.withdraw(caller, DocumentId(document_id))
    return Response(status_code=204)


@router.get("/collections")
async def collections(caller: Calling, services: Wired) -> dict[str, Any]:
    """Collections you may read."""
    return {"items": [collection_view(one) for one in await services.collections.readable(caller.subject)], "next_cursor": None}


@router.get("/collections/{name}")
async def collection_of(name: str, caller: Calling, services: Wired) -> dict[str, Any]:
    """One collection you may read."""
    return collection_view(await services.collections.get(caller.subject, name))


@router.post("/collections", status_code=201)
async def create_collection(
    body: CollectionBody, request: Request, caller: Calling, services: Wired, idempotency_key: KeyHeader = None
) -> dict[str, Any]:
    """Make a collection."""
    value = _with_changes(
        new_collection(caller.subject, body.name, body.title), body.model_dump(exclude_none=True, exclude={"name", "title"})
    )

    async def work() -> dict[str, Any]:
        return collection_view(await services.collections.create(caller, value))

    return dict(await (await once(request, services, caller, idempotency_key)).run(201, work))


@router.patch("/collections/{name}")
async def change_collection(name: str, body: CollectionPatch, caller: Calling, services: Wired) -> dict[str, Any]:
    """Change settings of a collection."""
    changes = body.model_dump(exclude_none=True)
    if "languages" in changes:
        changes["languages"] = tuple(changes["languages"])
    return collection_view(await services.collections.update(caller, name, changes))


def _with_changes(value: Collection, changes: dict[str, Any]) -> Collection:
    if "languages" in changes:
        changes["languages"] = tuple(changes["languages"])
    return replace(value, **changes)


async def _submission(collection: str, request: Request, services: Services) -> Submission:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(collection, request, services.settings.max_document_bytes)
    if kind == "application/json":
        return _from_json(collection, _parsed(await request.body(), ""))
    message = "Send multipart/form-data with a `file`, or application/json with `text`."
    raise InvalidInputError(message, pointer="/content-type")


async def _from_form(collection: str, request: Request, max_bytes: int) -> Submission:
    async with request.form(max_files=1, max_fields=20, max_part_size=_MAX_FIELD_CHARS * 32) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            message = "The multipart body needs a part `file`."
            raise InvalidInputError(message, pointer="/file")
        content = await file.read()
        if len(content) > max_bytes:
            message = f"A document may have {max_bytes} bytes at most."
            raise LimitExceededError(message, is_size=True)
        fields = {name: value or None for name, value in form.items() if isinstance(value, str) and (value or name == "valid_until")}
    unknown = set(fields) - set(DocumentBody.model_fields) - {"text"}
    if unknown:
        message = f"Unknown fields: {', '.join(sorted(unknown))}."
        raise InvalidInputError(message, pointer=f"/{min(unknown)}")
    if acl := fields.get("acl"):
        fields["acl"] = _parsed_acl(acl)
    body = _validated({**fields, "text": "-", "media_type": fields.get("media_type", "")})
    return _to_submission(collection, body, content, (file.filename or "document", body.media_type or file.content_type))


def _from_json(collection: str, value: dict[str, Any]) -> Submission:
    body = _validated(value)
    try:
        content = body.text.encode("utf-8")
    except UnicodeEncodeError as error:
        message = "The text holds a lone surrogate, which is no character."
        raise InvalidInputError(message, pointer="/text") from error
    return _to_submission(collection, body, content, (body.external_id or "document", body.media_type))


def _said(submission: Submission) -> bytes:
    """All that a submission says."""
    acl = None if submission.acl is None else acl_to_json(submission.acl)
    content = sha256(submission.content).hexdigest()
    return repr(replace(submission, content=b"", acl=None)).encode("utf-8", "backslashreplace") + orjson.dumps([content, acl])


def _named(submission: Submission, name: str | None) -> Submission:
    """The submission, known by `name` when it comes with no external id of its own: one of blanks is none."""
    clean = cleaned(submission)
    return clean if clean.external_id or name is None else replace(clean, external_id=name)


def _to_submission(collection: str, body: DocumentBody, content: bytes, named: tuple[str, str | None]) -> Submission:
    return Submission(
        collection=collection,
        content=content,
        file_name=named[0][:500],
        media_type=named[1] or None,
        title=body.title or None,
        label=body.label,
        acl=body.acl.value() if body.acl else None,
        source_uri=body.source_uri,
        language=body.language,
        valid_until=body.valid_until,
        has_no_end="valid_until" in body.model_fields_set and body.valid_until is None,
        external_id=body.external_id,
    )


def _validated(value: Any) -> DocumentBody:  # noqa: ANN401 - JSON
    try:
        return TypeAdapter(DocumentBody).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{first['msg']}."
        raise InvalidInputError(message, pointer=pointer_of(first["loc"])) from error


def _parsed(raw: bytes, pointer: str) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        message = "This is not valid JSON."
        raise InvalidInputError(message, pointer=pointer) from error
    if not isinstance(value, dict):
        message = "Expected a JSON object."
        raise InvalidInputError(message, pointer=pointer)
    return value


def _parsed_acl(text: str) -> Any:  # noqa: ANN401 - JSON, validated with the rest
    return _parsed(text.encode("utf-8", "surrogatepass"), "/acl")


def document_view(value: Document, title: str, source_uri: str) -> dict[str, Any]:
    """Metadata of a document for JSON; title and address rendered for the viewer."""
    return {
        "document_id": value.document_id,
        "collection": value.collection,
        "title": title,
        "source_uri": source_uri,
        "version": value.live_version,
        "label": value.label,
        "language": value.language,
        "state": value.state.value,
        "valid_until": value.valid_until,
        "created_at": value.created_at,
        "updated_at": value.updated_at,
    }


def collection_view(value: Collection) -> dict[str, Any]:
    """A collection for JSON."""
    names = ("name", "title", "steward", "default_label", "retention_days", "redaction_profile", "model_routing", "created_at")
    return {**{name: getattr(value, name) for name in names}, "languages": list(value.languages)}


def job_view(value: Job) -> dict[str, Any]:
    """A job for JSON."""
    return {
        "job_id": value.job_id,
        "kind": value.kind.value,
        "state": value.state.value,
        "progress": {"done": value.done, "total": value.total, "unit": value.unit},
        "error": value.error,
        "attempts": value.attempts,
        "document_ids": [value.document_id],
        "created_at": value.created_at,
    }


def _json(value: Any, receipt_id: str) -> Response:  # noqa: ANN401 - JSON
    headers = {**_NO_STORE, RECEIPT_HEADER: receipt_id}
    return Response(orjson.dumps(value, option=orjson.OPT_UTC_Z), headers=headers, media_type="application/json")

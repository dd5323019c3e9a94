"""ReconcileIndex: what the search index holds against the register, and the register wins.

The two are written one after the other. A process that dies between them leaves the index behind: an old ACL, a withdrawn document, a
version that never went live. The re-check keeps such passages from anyone; this makes the index right again.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.domain.content import DocumentId, DocumentState
from app.domain.identity import TenantId
from app.domain.ports import PassageIndex
from app.domain.search import AccessFacts, IndexedDocument
from app.errors import ConflictError, InvalidInputError
from app.ingest.alignment import AlignDocument
from app.ingest.jobs import embed_job
from app.ingest.vectors import VectorRules
from app.storage import document_rows, job_rows
from app.storage.document_rows import Standing
from app.storage.transaction import Database

_SYSTEM = "system:reconcile"
_JOBS_PER_COMMIT = 200
_PAUSE = timedelta(minutes=10)
"""Between two tries at vectors that could not be made."""


@dataclass(slots=True)
class IndexReport:
    """Ids of documents by what was wrong with them in the index."""

    documents: int = 0
    missing: list[DocumentId] = field(default_factory=list)
    """Live in the register; absent from the index, or there in another version or with other chunks."""
    extra: list[DocumentId] = field(default_factory=list)
    """In the index; withdrawn, no longer valid, without text, unknown to the register, or not live with no work under way to make it so."""
    stale_access: list[DocumentId] = field(default_factory=list)
    """Served under an older ACL or label."""
    given_up: list[DocumentId] = field(default_factory=list)
    """Beside the live version lies one that no work under way will make live. Nobody can find it; it is text that nobody wanted kept."""
    without_vectors: list[DocumentId] = field(default_factory=list)
    """Chunks without vectors, or with vectors of another embedder or another redaction profile, and no work under way that makes them."""

    failed: list[DocumentId] = field(default_factory=list)
    """Could not be mended: the register lacks its live version, the index refuses it, or it does not stand still."""
    left: list[DocumentId] = field(default_factory=list)
    """Wrong still after the repair."""

    @property
    def is_mended(self) -> bool:
        """Whether a repair left nothing to mend; vectors are made by workers after it."""
        return not (self.failed or self.left)

    @property
    def is_right(self) -> bool:
        """Whether nothing was wrong."""
        return not (self.missing or self.extra or self.stale_access or self.given_up or self.without_vectors)


@dataclass(frozen=True, slots=True)
class _Held:
    """Documents of which the index has newer facts than the register, and versions beside the live one that were given up."""

    newer: set[DocumentId]
    given_up: Mapping[DocumentId, Sequence[int]]


@dataclass(frozen=True)
class ReconcileIndex:
    """Compares and repairs. Powers: read the register, write the index, enqueue embedding."""

    database: Database
    index: PassageIndex
    rules: VectorRules

    async def run(self, tenant: TenantId, *, repair: bool) -> IndexReport:
        """Compare every document; with `repair` make the index what the register says, and compare once more.

        Safe beside running work, and to repeat.
        """
        report, held = await self._compare(tenant)
        if repair and not report.is_right:
            await self._mend(tenant, report, held)
            after, _ = await self._compare(tenant)
            # What was right before and is behind now is being worked on; but nothing is taken out by anybody else.
            wrong = {*report.missing, *report.stale_access, *report.given_up}
            report.left = [*after.extra, *(one for one in (*after.missing, *after.stale_access, *after.given_up) if one in wrong)]
        return report

    async def _compare(self, tenant: TenantId) -> tuple[IndexReport, "_Held"]:
        """(what is wrong, what a repair has to know of the index)."""
        # The index first: a document that goes live in between is then in the register, never missing from it.
        held = {one.document_id: one for one in await self.index.inventory(tenant)}
        async with self.database.read() as tx:
            standing = await document_rows.standings(tx, tenant)
            at_work = await job_rows.documents_at_work(tx, tenant)
            marks = {name: self.rules.mark(shown) for name, shown in (await self.rules.shown(tx, tenant)).items()}
        report = IndexReport(documents=sum(one.state is DocumentState.LIVE for one in standing.values()))
        for document_id in [*standing, *(one for one in held if one not in standing)]:
            found = _fault(standing.get(document_id), held.get(document_id), marks, is_at_work=document_id in at_work)
            if found:
                getattr(report, found).append(document_id)
        newer = {name for name, one in held.items() if name in standing and _is_newer(one, standing[name])}
        # Of a document that never was live, all that there is was given up.
        never = [name for name in report.extra if name in standing and _was_never_live(standing[name])]
        return report, _Held(newer, {name: held[name].others for name in (*report.given_up, *never)})

    async def _mend(self, tenant: TenantId, report: IndexReport, held: "_Held") -> None:
        for document_id in [*report.stale_access, *report.extra, *report.missing, *report.given_up]:
            try:
                if document_id in report.stale_access:
                    await self._renew_access(tenant, document_id)
                elif document_id in held.given_up:
                    await self._forget(tenant, document_id, held.given_up[document_id])
                else:
                    await self._mend_one(tenant, document_id, forgets_first=document_id in held.newer)
            except (LookupError, ConflictError, InvalidInputError):
                # One that cannot be mended must not leave the others as they are: an old ACL, a withdrawn document.
                report.failed.append(document_id)
        for start in range(0, len(report.without_vectors), _JOBS_PER_COMMIT):
            await self._embed_again(tenant, report.without_vectors[start : start + _JOBS_PER_COMMIT])

    async def expire(self, tenant: TenantId, since: datetime, until: datetime) -> None:
        """Take documents out of the index whose validity ended in between: their words must weigh in no search after that."""
        async with self.database.read() as tx:
            ended = await document_rows.ended_between(tx, tenant, since, until)
        for document_id in ended:
            # Looked at again, before and after: it may have been renewed. One that does not stand still is left to the next comparison.
            with suppress(LookupError, ConflictError):
                await AlignDocument(self.database, self.index).run(tenant, document_id)

    async def _forget(self, tenant: TenantId, document_id: DocumentId, versions: Sequence[int]) -> None:
        """Forget versions, unless there is work on the document again: it may be about to make one of them live."""
        async with self.database.read() as tx:
            document = await document_rows.get_document(tx, tenant, document_id)
            if document is None or await job_rows.documents_at_work(tx, tenant, document_id):
                return
        if document.live_version is None:
            await self.index.remove(tenant, document_id)
            return
        for version in versions:
            if version != document.live_version:
                await self.index.remove(tenant, document_id, version)

    async def _mend_one(self, tenant: TenantId, document_id: DocumentId, *, forgets_first: bool) -> None:
        document = await AlignDocument(self.database, self.index).run(tenant, document_id, forgets_first=forgets_first)
        if document is not None:
            await self._embed_again(tenant, [document_id])

    async def _renew_access(self, tenant: TenantId, document_id: DocumentId) -> None:
        async with self.database.read() as tx:
            document = await document_rows.get_document(tx, tenant, document_id)
        # Should it have changed since: the index keeps the newer of two.
        if document is not None:
            await self.index.put_access(AccessFacts.of(document))

    async def _embed_again(self, tenant: TenantId, document_ids: Sequence[DocumentId]) -> None:
        async with self.database.write() as tx:
            for document_id in document_ids:
                document = await document_rows.get_document(tx, tenant, document_id)
                if document is None or document.live_version is None:
                    continue
                # Another process that compared at the same time has seen to it; should its work be of before, the next comparison tells.
                if await job_rows.documents_at_work(tx, tenant, document_id):
                    continue
                # One that failed is tried again, not joined by another: an index with vectors of another model takes none for days.
                if not await job_rows.retry_embedding(tx, document_id, document.live_version, _PAUSE):
                    await job_rows.enqueue(tx, embed_job(_SYSTEM, document, document.live_version))


def _fault(standing: Standing | None, held: IndexedDocument | None, marks: Mapping[str, str], *, is_at_work: bool) -> str:
    """The report's list a document belongs in; none when all is well or work under way will settle it."""
    is_live = standing is not None and standing.is_served_at(datetime.now(UTC))
    if held is None:
        return "missing" if is_live else ""
    if standing is None or standing.state is DocumentState.WITHDRAWN:
        return "extra"
    if not is_live:
        # Chunks that no head speaks of have no version, and are found all the same.
        is_left = bool(held.others) and not is_at_work
        return "extra" if held.live_version is not None or held.chunks or is_left else ""
    if held.live_version != standing.live_version or held.chunks != standing.chunks or _is_newer(held, standing):
        return "missing"
    if held.acl_version < standing.acl_version:
        return "stale_access"
    is_embedded = held.vectors == held.chunks and standing.mark == marks.get(standing.collection)
    fault = "given_up" if held.others else "" if is_embedded else "without_vectors"
    return "" if is_at_work else fault


def _was_never_live(standing: Standing) -> bool:
    return standing.live_version is None and standing.state is not DocumentState.WITHDRAWN


def _is_newer(held: IndexedDocument, standing: Standing) -> bool:
    """Whether the index has newer facts than the register, or more text: an older database was put back, or text was erased.

    It would keep them, so it must forget first.
    """
    is_more = held.live_version == standing.live_version and held.chunks > standing.chunks
    return is_more or held.acl_version > standing.acl_version

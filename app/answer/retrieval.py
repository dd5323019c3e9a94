"""The shared middle of a search and an answer: decide, search under the filter, re-check against the register, render.

Nothing leaves from here: the flows record what this returns before they release any of it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from app.answer.ranking import RankedChunk, fuse, merge
from app.domain.access import Action, Decision, Nothing, Outcome, ReadFilter, Resource
from app.domain.content import ChunkId, StoredPassage
from app.domain.identity import Subject, TenantId
from app.domain.ports import Embedder, PassageIndex
from app.domain.privacy import Rendering
from app.domain.search import Candidates, IndexQuery, SearchLimits, Vector, Visibility
from app.errors import UpstreamUnavailableError
from app.observability import RECHECK_DROPPED, STAGE_SECONDS, logger
from app.policy.book import Basis, PolicyBook
from app.policy.snapshot import Snapshot
from app.privacy.book import RedactionBook
from app.privacy.redaction import RedactionPolicy
from app.privacy.rendering import render
from app.storage import document_rows, passage_rows
from app.storage.transaction import Database, Transaction

SEARCH_ACTIONS = (Action.SEARCH, Action.READ)
ANSWER_ACTIONS = (Action.SEARCH, Action.READ, Action.GENERATE)
RECHECK = 50
"""Hits that register and referee are asked about."""
RENDERED = 20
"""Granted hits whose text is read and rendered, unless the caller wants more: quotes are chosen among so many (`quotes.py`)."""
_BEHIND = timedelta(seconds=60)
"""A change of access reaches the index within two seconds; where a write failed, the next comparison of the two brings it."""
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk that filter and referee grant, rendered for a viewer who sees the entity types `shown`. `stored` is raw and stays here."""

    stored: StoredPassage
    text: Rendering
    title: str
    headings: tuple[str, ...]
    source_uri: str
    ranked: RankedChunk
    shown: frozenset[str]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The result of a retrieval, best first, with what the record needs to know."""

    decision: Decision
    question: str
    found: tuple[Found, ...]
    term_weights: Mapping[str, float]
    degraded: tuple[str, ...]
    considered: int
    dropped: int
    redaction_digest: str


@dataclass(frozen=True, slots=True)
class RetrievalRequest:
    """What is looked for, by whom, on which actions' grounds. `n_wanted` passages are wanted back, up to `RECHECK`."""

    subject: Subject
    text: str
    limits: SearchLimits
    actions: tuple[Action, ...]
    earlier_question: str = ""
    n_wanted: int = RENDERED


@dataclass(frozen=True)
class Retrieval:
    """Steps two to five of a question. Powers: read the register, ask policy, search, render."""

    database: Database
    policy: PolicyBook
    redaction: RedactionBook
    index: PassageIndex
    embedder: Embedder

    async def find(self, request: RetrievalRequest) -> Evidence:
        """Granted, rendered passages, best first. A denied request gives evidence without passages and a deny decision.

        Begins on what was in force when somebody last asked, without a trip to the database; the re-check reads what is in force now,
        and if that is something else, everything is thrown away and done again on it.
        """
        tenant = request.subject.tenant
        basis = self.policy.last_basis(tenant)
        if basis is None:
            basis = await self._in_force(tenant)
        evidence, now = await self._find_on(basis, request)
        if now is not basis:
            evidence, _ = await self._find_on(now, request)
        return evidence

    async def are_granted(self, tx: Transaction, subject: Subject, actions: tuple[Action, ...], found: Sequence[Found]) -> bool:
        """Whether all of these are live and granted as `tx` sees them, and show no more than they would now.

        For what took a while to be made of them.
        """
        basis = await self.policy.basis(tx, subject.tenant)
        resources = await passage_rows.live_resources(tx, subject.tenant, chunk_ids(found))
        are_open = len(resources) == len(found) and all(basis.snapshot.permits_all(subject, actions, list(resources.values())))
        redaction = self.redaction.of(basis.snapshot.digest, basis.snapshot.redaction_text)
        return are_open and _show_no_more(found, resources, basis, subject, redaction)

    async def _in_force(self, tenant: TenantId) -> Basis:
        with STAGE_SECONDS.labels("policy").time():
            async with self.database.read() as tx:
                return await self.policy.basis(tx, tenant)

    async def _find_on(self, basis: Basis, request: RetrievalRequest) -> tuple[Evidence, Basis]:
        """Evidence found on `basis` and checked again on what is in force at the end, which comes with it."""
        snapshot, subject = basis.snapshot, request.subject
        with STAGE_SECONDS.labels("policy").time():
            redaction = self.redaction.of(snapshot.digest, snapshot.redaction_text)
            read_filter = snapshot.read_filter(subject, request.actions)
            decision = snapshot.search_decision(read_filter)
            visible = _visibility(basis, subject, redaction)
        if decision.outcome is Outcome.DENY or isinstance(read_filter, Nothing):
            denied = Evidence(decision, request.text, (), {}, (), 0, 0, redaction.digest)
            return denied, await self._in_force(subject.tenant)
        question, candidates = await self._search(request, request.text, read_filter, visible)
        ranked = fuse(candidates, self.embedder.background)
        if request.earlier_question:
            # A follow-up often leaves out what it is about: search it with the question before it as well.
            _, wider = await self._search(request, f"{request.earlier_question} {request.text}", read_filter, visible)
            ranked = merge(ranked, fuse(wider, self.embedder.background))
        return await self._recheck(request, question, ranked[:RECHECK], candidates, basis)

    async def _search(self, request: RetrievalRequest, text: str, read_filter: ReadFilter, visible: Visibility) -> tuple[str, Candidates]:
        # Beside whatever the index does before it needs the vector; made anew for a question that is corrected, which few are.
        embedding = asyncio.create_task(self._embed([text]))
        try:
            with STAGE_SECONDS.labels("index").time():
                question = await self.index.respell(text, read_filter, visible)
                if question != text:
                    embedding.cancel()
                    embedding = asyncio.create_task(self._embed([text, question]))
                candidates = await self.index.search(IndexQuery(question, None, visible, request.limits), read_filter, embedding)
        finally:
            embedding.cancel()
        return question, candidates

    async def _embed(self, texts: Sequence[str]) -> Vector | None:
        try:
            vectors = await self.embedder.embed(texts)
        except UpstreamUnavailableError:
            return None
        total = vectors.sum(axis=0)
        vector: Vector = total / max(float((total @ total) ** 0.5), 1e-9)
        return vector

    async def _recheck(
        self, request: RetrievalRequest, question: str, ranked: Sequence[RankedChunk], candidates: Candidates, searched_on: Basis
    ) -> tuple[Evidence, Basis]:
        """Ask the register and the referee again, under the policy in force now, for every hit before anyone sees it."""
        subject = request.subject
        async with self.database.read() as tx:
            with STAGE_SECONDS.labels("recheck").time():
                basis = await self.policy.basis(tx, subject.tenant)
                snapshot = basis.snapshot
                resources = await passage_rows.live_resources(tx, subject.tenant, [one.chunk_id for one in ranked])
                present = [one for one in ranked if one.chunk_id in resources]
                verdicts = snapshot.permits_all(subject, request.actions, [resources[one.chunk_id] for one in present])
                granted = [one for one, permitted in zip(present, verdicts, strict=True) if permitted]
                RECHECK_DROPPED.labels("absent").inc(len(ranked) - len(present))
                if basis is searched_on and len(granted) < len(present):
                    refused = [one for one, permitted in zip(present, verdicts, strict=True) if not permitted]
                    await _report(tx, subject.tenant, refused)
            with STAGE_SECONDS.labels("read").time():
                # In the same transaction: text and the facts it was granted by are of one snapshot.
                kept = granted[: max(RENDERED, request.n_wanted)]
                stored = await passage_rows.stored_passages(tx, subject.tenant, [one.chunk_id for one in kept])
        redaction = self.redaction.of(snapshot.digest, snapshot.redaction_text)
        with STAGE_SECONDS.labels("render").time():
            # One whose validity ends at this very moment is gone from the second query.
            found = render_all(snapshot, subject, redaction, [(one, stored[one.chunk_id]) for one in kept if one.chunk_id in stored])
        decision = snapshot.search_decision(snapshot.read_filter(subject, request.actions))
        dropped = len(ranked) - len(granted)
        # The caller may fetch the record: it counts what was granted, never what an index behind its time still held.
        evidence = Evidence(
            decision, question, found, candidates.term_weights, candidates.degraded, len(granted), dropped, redaction.digest
        )
        return (evidence if decision.outcome is Outcome.ALLOW else replace(evidence, found=())), basis


async def _report(tx: Transaction, tenant: TenantId, refused: Sequence[RankedChunk]) -> None:
    """Count what one policy's filter let through and its referee did not: of late changes the index may not know yet."""
    changed = await document_rows.changed_since(tx, tenant, [one.document_id for one in refused], datetime.now(UTC) - _BEHIND)
    RECHECK_DROPPED.labels("behind").inc(sum(one.document_id in changed for one in refused))
    denied = [one for one in refused if one.document_id not in changed]
    RECHECK_DROPPED.labels("denied").inc(len(denied))
    if denied:
        _log.error("filter_and_referee_disagreed", tenant=tenant, documents=sorted({one.document_id for one in denied}))


def render_all(
    snapshot: Snapshot, subject: Subject, redaction: RedactionPolicy, hits: Sequence[tuple[RankedChunk, StoredPassage]]
) -> tuple[Found, ...]:
    """Render text, title and source address of each hit for one viewer."""
    pairs = list(dict.fromkeys((passage.document.collection, passage.document.label) for _, passage in hits))
    readers = snapshot.pii_readers(subject, pairs)
    found = []
    for ranked, passage in hits:
        document = passage.document
        shown = redaction.visible_types(passage.redaction_profile, may_read_pii=readers[document.collection, document.label])
        found.append(_render_hit(ranked, passage, shown))
    return tuple(found)


def _render_hit(ranked: RankedChunk, passage: StoredPassage, shown: frozenset[str]) -> Found:
    chunk, document = passage.chunk, passage.document
    headings = tuple(render(text, spans, shown).text for text, spans in zip(chunk.heading_path, passage.heading_spans, strict=True))
    return Found(
        passage,
        render(chunk.text, passage.spans, shown),
        render(document.title, passage.title_spans, shown).text,
        headings,
        render(document.source_uri, passage.source_spans, shown).text,
        ranked,
        shown,
    )


def _visibility(basis: Basis, subject: Subject, redaction: RedactionPolicy, places: Sequence[tuple[str, str]] = ()) -> Visibility:
    """Entity types shown to the subject in each place, a collection and a label: in all that there are where none is named."""
    pairs = places or [(collection, label) for collection in basis.profiles for label in basis.snapshot.bundle.labels]
    readers = basis.snapshot.pii_readers(subject, pairs)
    # A few hundred pairs share a handful of profiles.
    kinds = {(basis.profiles[collection], may_read) for (collection, _), may_read in readers.items()}
    shown = {(profile, may_read): redaction.visible_types(profile, may_read_pii=may_read) for profile, may_read in kinds}
    return {(collection, label): shown[basis.profiles[collection], may_read] for (collection, label), may_read in readers.items()}


def _show_no_more(
    found: Sequence[Found], resources: Mapping[ChunkId, Resource], basis: Basis, subject: Subject, redaction: RedactionPolicy
) -> bool:
    """Whether none of these shows an entity type that is hidden from the subject on `basis`."""
    places = [(resource.collection, min(resource.labels)) for resource in (resources[chunk_id] for chunk_id in chunk_ids(found))]
    visible = _visibility(basis, subject, redaction, list(dict.fromkeys(places))) if places else {}
    return all(one.shown <= visible[place] for one, place in zip(found, places, strict=True))


def chunk_ids(found: Sequence[Found]) -> list[ChunkId]:
    """Ids of found chunks, in order."""
    return [one.stored.chunk.chunk_id for one in found]

"""Two engines, one behaviour: random companies, people and questions, answered by both with the same candidates, scores and spellings."""

import asyncio
import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.access import Acl, AclMode, Action, ActionRule, Conditions, ReadFilter, Scope, WholeTenant
from app.domain.content import DocumentId
from app.domain.identity import Principal
from app.domain.ports import PassageIndex
from app.domain.search import AccessFacts, GuardedText, IndexedChunk, IndexQuery, SearchLimits
from tests.conformance.engines import OpenEngine, T, chunk, unit, vectors

N_CORPORA = int(os.environ.get("PORTCULLIS_TEST_CORPORA", "50"))
"""Ten to a test, so that the processes of a run share them; 500 for a night."""
A_BATCH = 10
N_QUESTIONS = 8
WORDS = (
    *("leave", "leaves", "leaving", "travel", "travels", "budget", "budgets", "laptop", "holiday", "moonlight", "approval", "approved"),
    *("weeks", "request", "requests", "vendor", "the", "of", "und", "Erstattung", "Erstattungen", "Reisekosten", "demande", "demandes"),
    *("congés", "naïve", "policy", "policies", "x1", "2026"),
)
NAMES = ("Smith", "Winterbottom", "Ann", "leave", "Müller")
PRINCIPALS = tuple(Principal(f"group:acme|{name}") for name in ("staff", "board", "hr", "it", "ünïcode"))
COLLECTIONS, LABELS, TYPES = ("hr", "it", "own"), ("public", "internal", "secret"), ("PERSON", "EMAIL.ADDRESS")
DAY = datetime(2026, 3, 1, 12, 30, 15, 250_001, tzinfo=UTC)


@dataclass
class Company:
    """Everything random about one corpus, drawn from one seed."""

    draw: random.Random

    def some(self, among: tuple[str, ...], most: int) -> frozenset[str]:
        return frozenset(self.draw.sample(among, self.draw.randint(0, min(most, len(among)))))

    def text(self, most: int) -> str:
        return " ".join(self.draw.choices(WORDS, k=self.draw.randint(0, most)))

    def facts(self, document: str, acl_version: int = 1) -> AccessFacts:
        draw = self.draw
        acl = Acl(draw.choice(list(AclMode)), self.some(PRINCIPALS, 3), self.some(PRINCIPALS, 1))
        where = draw.choice(COLLECTIONS), draw.choice(LABELS), draw.randint(0, 3)
        language = draw.choice(["en", "en-GB", "de", "fr", "xx", ""])
        return AccessFacts(T, DocumentId(document), *where, acl, acl_version, language, DAY + timedelta(days=draw.randint(0, 3)))

    def chunks(self, document: str, version: int) -> list[IndexedChunk]:
        return [
            chunk(
                document, self.text(14), version=version, ordinal=n, guarded=tuple(self.guarded() for _ in range(self.draw.randint(0, 2)))
            )
            for n in range(self.draw.randint(1, 3))
        ]

    def guarded(self) -> GuardedText:
        return GuardedText(self.draw.choice(TYPES), " ".join(self.draw.choices(NAMES, k=2)))

    def scopes(self) -> tuple[Scope, ...]:
        several = range(self.draw.randint(0, 3))
        return tuple(Scope(self.draw.choice(["*", *COLLECTIONS]), self.draw.choice(["*", *LABELS])) for _ in several)

    def read_filter(self) -> ReadFilter:
        if self.draw.random() < 0.15:
            return WholeTenant(T)
        anywhere = (Scope("*", "*"),)
        rules = tuple(
            ActionRule(
                Action.READ, self.scopes() if self.draw.random() < 0.7 else anywhere, self.scopes() if self.draw.random() < 0.5 else ()
            )
            for _ in range(self.draw.randint(1, 2))
        )
        return Conditions(T, self.draw.randint(0, 3), self.some(PRINCIPALS, 5), rules)

    def query(self) -> IndexQuery:
        draw = self.draw
        limits = SearchLimits(
            collections=tuple(self.some(COLLECTIONS, 2)) if draw.random() < 0.3 else (),
            labels=tuple(self.some(LABELS, 2)) if draw.random() < 0.2 else (),
            languages=("de", "en-US") if draw.random() < 0.2 else (),
            updated_after=DAY + timedelta(days=1) if draw.random() < 0.2 else None,
        )
        visible = {(c, label): self.some(TYPES, 2) for c in COLLECTIONS for label in LABELS if draw.random() < 0.6}
        text = f"{self.text(6)} {' '.join(draw.choices(NAMES, k=draw.randint(0, 2)))}"
        vector = unit(draw.randint(0, 99))[0] if draw.random() < 0.8 else None
        return IndexQuery(text, vector, visible, limits, lexical_k=draw.choice([2, 100]), vector_k=draw.choice([2, 100]))


async def fill(engines: list[PassageIndex], company: Company) -> None:
    """The same writes to all engines: versions, vectors that may be pending, changed rights and removals."""
    draw = company.draw

    async def document(name: str, seed: int) -> None:
        version, facts = draw.randint(1, 3), company.facts(name)
        chunks = company.chunks(name, version)
        embedded = [vectors(item, seed + n) for n, item in enumerate(chunks) if draw.random() < 0.9]
        is_live, is_changed, is_removed = draw.random() < 0.9, draw.random() < 0.3, draw.random() < 0.1
        later = company.facts(name, acl_version=2)
        for engine in engines:
            await engine.put_version(facts, version, chunks)
            await engine.put_vectors(facts.document_id, version, embedded, "model-a")
            if is_live:
                await engine.make_live(facts.document_id, version)
            if is_changed:
                await engine.put_access(later)
            if is_removed:
                await engine.remove(facts.tenant, facts.document_id)

    # What is random of a document is drawn before its first wait, so that the order of writes does not matter.
    await asyncio.gather(*(document(f"d{n}", 10 * n) for n in range(draw.randint(1, 7))))


def misspelled(draw: random.Random) -> str:
    words = draw.choices([word for word in (*WORDS, *NAMES) if len(word) > 3], k=3)
    return " ".join(word[:2] + word[3] + word[2] + word[4:] for word in words)


@pytest.mark.parametrize("batch", range(-(-N_CORPORA // A_BATCH)))
async def test_both_engines_find_the_same_and_score_it_the_same(batch: int, reopen_engine: OpenEngine) -> None:
    n_found = 0
    for seed in range(batch * A_BATCH, min(N_CORPORA, (batch + 1) * A_BATCH)):
        company = Company(random.Random(seed))
        async with reopen_engine("embedded") as embedded, reopen_engine("opensearch") as opensearch:
            await fill([embedded, opensearch], company)
            for _ in range(N_QUESTIONS):
                query, read_filter = company.query(), company.read_filter()
                expected = await embedded.search(query, read_filter)
                n_found += len(expected.items)
                assert repr(await opensearch.search(query, read_filter)) == repr(expected), f"seed {seed}: {query} {read_filter}"
            text = misspelled(company.draw)
            spelled = [await engine.respell(text, read_filter, query.visible) for engine in (embedded, opensearch)]
            assert spelled[0] == spelled[1], f"seed {seed}"
            held = [await engine.inventory(T) for engine in (embedded, opensearch)]
            assert sorted(held[0], key=lambda one: one.document_id) == held[1], f"seed {seed}"
    assert n_found > N_QUESTIONS, "random people were granted next to nothing: the comparison says little"

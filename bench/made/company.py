"""A made-up company written through the real tables and the embedded index: documents, policy and people of any number.

Texts are words of the encoder's own dictionary under a Zipf law; vectors are random around random centres: they load every part of a
search as real ones do and say nothing about quality. 500 policy rows; each document names 1-9 of 5,000 groups, each person holds 28.
"""

import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from app.domain.access import Acl, AclMode
from app.domain.content import Chunk, ChunkId, Collection, Document, DocumentId, DocumentState, Sentence
from app.domain.identity import Principal, TenantId
from app.domain.privacy import Span
from app.domain.search import AccessFacts, ChunkVectors
from app.index.embedded import EmbeddedIndex
from app.ingest.analysis import AnalyzedDocument, indexed_chunks
from app.ingest.vectors import mark_of
from app.storage import collection_rows, document_rows, schema
from app.storage.document_shapes import AnalyzedChunk, VersionRow
from app.storage.transaction import Database

ROOT = Path(__file__).resolve().parents[2]
TENANT = TenantId("sample")
DIM = 384
GROUPS = 5_000
GROUPS_HELD = 28
COLLECTIONS = 40
PEOPLE = 100
_CHUNKS_PER_DOCUMENT = 10
_SENTENCES, _SENTENCE_WORDS = 6, 30
_DOCUMENTS_PER_COMMIT = 100
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Vectors:
    """Unit vectors to draw from: `centres` of topics and a bank of sentence vectors, shape (n, DIM)."""

    centres: NDArray[np.float32]
    bank: NDArray[np.float32]


def write_policy(folder: Path) -> None:
    """Write 500 rules: four actions under three labels in forty collections, and twenty more."""
    folder.mkdir(parents=True)
    for name in ("model.conf", "labels.yaml", "redaction.yaml"):
        shutil.copy(ROOT / "policies" / name, folder / name)
    rows = ["subject,tenant,collection,label,action,purpose,effect,why"]
    for number in range(COLLECTIONS):
        for label in ("public", "internal", "confidential"):
            rule = f"group:sample|everyone,sample,c{number},{label}"
            rows += [f"{rule},{action},*,allow,Where the document names them" for action in ("search", "read", "generate", "export")]
    rows += [f"group:sample|g{number},sample,c{number},*,read_pii,*,allow,This group works with people" for number in range(20)]
    (folder / "rules.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_people(folder: Path, seed: int = 5) -> list[str]:
    """Write the people of the demo issuer; returns their names."""
    rng = random.Random(seed)
    people = [
        {
            "name": f"person-{number:03}",
            "description": "Made for a measurement",
            "groups": ["everyone", *(f"g{code}" for code in rng.sample(range(GROUPS), GROUPS_HELD))],
            "roles": [],
            "clearance": "confidential",
            "purposes": [],
        }
        for number in range(PEOPLE)
    ]
    folder.mkdir(parents=True)
    (folder / "people.yaml").write_text(yaml.safe_dump({"people": people}), encoding="utf-8")
    (folder / "manifest.yaml").write_text("collections: []\ndocuments: []\n", encoding="utf-8")
    return [str(one["name"]) for one in people]


def questions(words: Sequence[str], n: int, seed: int = 9) -> list[str]:
    """Questions of seven words from the middle of the law; one in ten has a slip of the keyboard."""
    rng = random.Random(seed)
    asked = []
    for number in range(n):
        picked = [words[min(len(words) - 1, int(rng.paretovariate(0.6)) + 20)] for _ in range(7)]
        if number % 10 == 0:
            long = max(picked, key=len)
            picked[picked.index(long)] = long[:-2] + long[-1] + long[-2]
        asked.append("how do I " + " ".join(picked))
    return asked


async def fill(data: Path, words: Sequence[str], n_chunks: int, model_digest: str) -> None:
    """Write `n_chunks` chunks into an empty data folder, both into the register and into the index."""
    url = f"sqlite+aiosqlite:///{data / 'portcullis.db'}"
    schema.upgrade(url, ROOT / "migrations")
    database, index = Database(url), EmbeddedIndex(data / "index.db")
    index._writing.execute("PRAGMA synchronous=OFF")  # noqa: SLF001 - tens of thousands of commits would measure the disk
    vectors = _vectors(np.random.default_rng(7))
    # The collections name a profile that no `redaction.yaml` has: nothing is shown under it.
    mark = mark_of(model_digest, frozenset())
    async with database.write() as tx:
        for number in range(COLLECTIONS):
            await collection_rows.put_collection(tx, _collection(f"c{number}"))
    made = _documents(words, n_chunks // _CHUNKS_PER_DOCUMENT)
    while batch := [one for one, _ in zip(made, range(_DOCUMENTS_PER_COMMIT), strict=False)]:
        async with database.write() as tx:
            for document, analyzed in batch:
                await document_rows.insert_document(tx, document, 1)
                await document_rows.put_version(tx, _version(document, analyzed, mark), analyzed.chunks)
        for document, analyzed in batch:
            await index.put_version(AccessFacts.of(document), 1, indexed_chunks(analyzed))
            await index.put_vectors(document.document_id, 1, [_drawn(vectors, one.chunk) for one in analyzed.chunks], model_digest)
            await index.make_live(document.document_id, 1)
    index.close()
    await database.close()


def _vectors(rng: np.random.Generator) -> Vectors:
    def unit(n: int) -> NDArray[np.float32]:
        drawn = rng.normal(size=(n, DIM)).astype(np.float32)
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)

    return Vectors(unit(200), unit(4_000))


def _drawn(vectors: Vectors, chunk: Chunk) -> ChunkVectors:
    rng = random.Random(chunk.chunk_id)
    own = vectors.centres[rng.randrange(200)] + vectors.bank[rng.randrange(4_000)]
    first, second = rng.randrange(4_000 - _SENTENCES), rng.randrange(4_000 - _SENTENCES)
    own = (own / np.linalg.norm(own)).astype(np.float32)
    return ChunkVectors(chunk.chunk_id, own, vectors.bank[first : first + _SENTENCES], vectors.bank[second : second + _SENTENCES])


def _documents(words: Sequence[str], n: int) -> Iterator[tuple[Document, AnalyzedDocument]]:
    rng = np.random.default_rng(3)
    for number in range(n):
        chosen = np.minimum(rng.zipf(1.15, size=(_CHUNKS_PER_DOCUMENT, _SENTENCES, _SENTENCE_WORDS)), len(words)) - 1
        document = _document(number, random.Random(number))
        chunks = tuple(_chunk(document, ordinal, table.tolist(), words) for ordinal, table in enumerate(chosen))
        text = "\n".join(one.chunk.text for one in chunks)
        yield document, AnalyzedDocument(document.title, (), document.source_uri, (), "", (), text, (), chunks, "en", "made")


def _document(number: int, rng: random.Random) -> Document:
    allow = frozenset(Principal(f"group:sample|g{code}") for code in rng.sample(range(GROUPS), rng.randint(1, 9)))
    return Document(
        tenant=TENANT,
        document_id=DocumentId(f"doc_{number:06}"),
        collection=f"c{number % COLLECTIONS}",
        external_id=f"pages/{number:06}.md",
        title=f"Guide {number}",
        state=DocumentState.LIVE,
        live_version=1,
        label=("public", "internal", "confidential")[number % 3],
        sensitivity=number % 3,
        acl=Acl(AclMode.EXPLICIT, allow),
        acl_version=1,
        language="en",
        source_uri=f"pages/{number:06}.md",
        valid_until=None,
        created_at=_NOW,
        updated_at=_NOW,
    )


def _chunk(document: Document, ordinal: int, table: Sequence[Sequence[int]], words: Sequence[str]) -> AnalyzedChunk:
    sentences, at = [], 0
    texts = [" ".join(words[code] for code in row) + "." for row in table]
    for text in texts:
        sentences.append(Sentence(at, at + len(text), text, f"{document.title}: Section {ordinal}"))
        at += len(text) + 1
    text = " ".join(texts)
    name = text.index(" ") + 1
    # Every third chunk holds a name, so that guarded words and redaction are part of what is measured.
    spans = (Span(name, text.index(" ", name), "PERSON", 0.9, "made"),) if ordinal % 3 == 0 else ()
    chunk_id = ChunkId(f"{document.document_id}.1.{ordinal}")
    start = ordinal * 2_000
    chunk = Chunk(chunk_id, ordinal, text, ((start, start + len(text)),), (f"Section {ordinal}",), tuple(sentences), ordinal)
    return AnalyzedChunk(chunk, spans, ((),))


def _collection(name: str) -> Collection:
    return Collection(TENANT, name, name.upper(), "person-000", "internal", ("en",), None, "internal", "default", _NOW)


def _version(document: Document, analyzed: AnalyzedDocument, mark: str) -> VersionRow:
    return VersionRow(
        document_id=document.document_id,
        version=1,
        title=analyzed.title,
        title_spans=(),
        source_spans=(),
        keywords="",
        keyword_spans=(),
        text="",  # the chunks hold it; a second copy would only make the file larger
        spans=(),
        content_sha256="0" * 64,
        media_type="text/markdown",
        size_bytes=len(analyzed.text),
        detector_digest="made",
        embedder_digest=mark,
        submitted_by="bench",
        created_at=_NOW,
    )

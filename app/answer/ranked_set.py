"""Ranks a BEIR folder with the real chunker, embedder, engine and ranking, in a temporary index; no documents are kept."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.answer.ranking import fuse, merge
from app.domain.access import Acl, AclMode, Action, ReadFilter
from app.domain.content import Block, BlockKind, Chunk, ChunkedDocument, DocumentId, ParsedDocument
from app.domain.identity import Principal, Subject, SubjectId, TenantId
from app.domain.ports import PassageIndex
from app.domain.search import AccessFacts, ChunkVectors, IndexedChunk, IndexQuery
from app.index.embedded import EmbeddedIndex
from app.llm.embedder import LocalEmbedder
from app.policy.bundle import parse_bundle, read_folder
from app.policy.filters import compile_filter

_TENANT = TenantId("sample")
_COLLECTION = "company"
_EVERYBODY = Principal("group:sample|all-employees")


@dataclass(frozen=True, slots=True)
class RankedSetQuery:
    """One query with its judgements and the ranked documents, each once."""

    query_id: str
    relevance: dict[str, int]
    documents: tuple[str, ...]


@asynccontextmanager
async def embedded(embedder: LocalEmbedder) -> AsyncIterator[PassageIndex]:
    """An empty embedded index, gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="portcullis-eval-") as place:
        index = EmbeddedIndex(Path(place) / "index.db", dictionary=embedder.known_words())
        yield index
        index.close()


@dataclass(frozen=True, slots=True)
class Bench:
    """What ranking a set needs: the embedder's folder, the policy folder, how documents are cut, what is embedded of a chunk, an index."""

    embedder: Path
    policies: Path
    cut: Callable[[DocumentId, int, ParsedDocument], ChunkedDocument]
    texts: Callable[[str, Chunk], list[str]]
    index: Callable[[LocalEmbedder], AbstractAsyncContextManager[PassageIndex]] = embedded


def rank_set(bench: Bench, folder: Path, limit: int | None) -> list[RankedSetQuery]:
    """Index the corpus of `folder` and rank its judged queries."""
    return asyncio.run(_rank(bench, folder, limit))


async def _rank(bench: Bench, folder: Path, limit: int | None) -> list[RankedSetQuery]:
    embedder = LocalEmbedder(bench.embedder)
    bundle = parse_bundle(read_folder(bench.policies))
    relevance = _read_qrels(folder / "qrels" / "test.tsv")
    queries = [row for row in _lines(folder / "queries.jsonl") if row["_id"] in relevance][:limit]
    async with bench.index(embedder) as index:
        for row in _lines(folder / "corpus.jsonl"):
            await _put(bench, index, embedder, row)
        ranked = []
        for row in queries:
            principals = frozenset({_EVERYBODY, _group(row)})
            subject = Subject(_TENANT, SubjectId("eval"), "eval", (), (), 1, frozenset(), principals)
            read_filter = compile_filter(bundle, subject, principals, (Action.SEARCH, Action.READ))
            documents = await _search(index, embedder, row, read_filter)
            ranked.append(RankedSetQuery(row["_id"], relevance[row["_id"]], documents))
    embedder.close()
    return ranked


async def _put(bench: Bench, index: PassageIndex, embedder: LocalEmbedder, row: dict[str, Any]) -> None:
    document_id = DocumentId(row["_id"])
    blocks = tuple(Block(BlockKind.PARAGRAPH, " ".join(text.split()), 0, ()) for text in row["text"].split("\n\n") if text.strip())
    chunked = bench.cut(document_id, 1, ParsedDocument(row.get("title") or "", blocks or (Block(BlockKind.PARAGRAPH, "-", 0, ()),)))
    acl = Acl(AclMode.EXPLICIT, frozenset({_group(row)})) if row.get("group") else Acl.inherited()
    facts = AccessFacts(_TENANT, document_id, _COLLECTION, "internal", 1, acl, 1, "en", datetime.now(UTC))
    chunks = [IndexedChunk(one.chunk_id, " ".join((chunked.title, *one.heading_path)), one.text) for one in chunked.chunks]
    await index.put_version(facts, 1, chunks)
    texts: list[str] = []
    for one in chunked.chunks:
        texts += bench.texts(chunked.title, one)
    matrix, at, vectors = await embedder.embed(texts), 0, []
    for one in chunked.chunks:
        n = len(one.sentences)
        vectors.append(ChunkVectors(one.chunk_id, matrix[at], matrix[at + 1 : at + 1 + n], matrix[at + 1 + n : at + 1 + 2 * n]))
        at += 1 + 2 * n
    await index.put_vectors(document_id, 1, vectors, embedder.digest)
    await index.make_live(document_id, 1)


async def _search(index: PassageIndex, embedder: LocalEmbedder, row: dict[str, Any], read_filter: ReadFilter) -> tuple[str, ...]:
    texts = [row["text"]]
    if row.get("history"):
        earlier = row["history"][-2] if len(row["history"]) > 1 else row["history"][-1]
        texts.append(f"{earlier} {row['text']}")
    lists = []
    for text in texts:
        question = await index.respell(text, read_filter, {})
        vectors = await embedder.embed([text] if question == text else [text, question])
        vector = vectors.sum(axis=0)
        vector /= max(float((vector @ vector) ** 0.5), 1e-9)
        lists.append(fuse(await index.search(IndexQuery(question, vector, {}), read_filter), embedder.background))
    ranked = lists[0] if len(lists) == 1 else merge(lists[0], lists[1])
    return tuple(dict.fromkeys(str(one.document_id) for one in ranked))


def _group(row: dict[str, Any]) -> Principal:
    return Principal(f"group:sample|site:{row.get('group', '')}")


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    relevance: dict[str, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        relevance.setdefault(query, {})[document] = int(score)
    return relevance


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)

"""PolicyQA on both engines: how alike their ten best are, hit@5 of each, and whether either shows what a reader may not see; one JSON line.

Every document belongs to one site, every question to a reader of one site. Run: `python bench/policyqa_engines.py [--limit N]`.
"""

import argparse
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.answer.ranked_set import Bench, RankedSetQuery, embedded, rank_set  # noqa: E402 - the path must be set first
from app.domain.ports import PassageIndex  # noqa: E402 - as above
from app.index.opensearch.engine import OpenSearchIndex  # noqa: E402 - as above
from app.index.opensearch.rules import OpenSearchRules  # noqa: E402 - as above
from app.ingest.analysis import texts_to_embed  # noqa: E402 - as above
from app.ingest.chunking import chunk_document  # noqa: E402 - as above
from app.llm.embedder import LocalEmbedder  # noqa: E402 - as above
from bench.made.passages import corpora  # noqa: E402 - as above
from tests.services.opensearch.nodes import OpenSearchNodes  # noqa: E402 - as above

Opened = Callable[[LocalEmbedder], AbstractAsyncContextManager[PassageIndex]]


@asynccontextmanager
async def opensearch(embedder: LocalEmbedder) -> AsyncIterator[PassageIndex]:
    """An empty OpenSearch node of its own."""
    nodes = OpenSearchNodes.make(heap="1g")
    try:
        nodes.start()
        rules = OpenSearchRules(nodes.urls, embedder.dim, replicas=0, timeout_s=60.0)
        index = OpenSearchIndex(rules, dictionary=embedder.known_words())
        yield index
        await index.close()
    finally:
        nodes.remove()


def ranked(index: Opened, folder: Path, limit: int | None) -> list[RankedSetQuery]:
    """The set on one engine."""
    bench = Bench(
        ROOT / "models" / "embedder", ROOT / "policies", chunk_document, lambda title, chunk: texts_to_embed(title, chunk, {}), index
    )
    return rank_set(bench, folder, limit)


def hit_at_5(found: list[RankedSetQuery]) -> float:
    """Share of questions with a right document among the five first."""
    return sum(any(one.relevance.get(name, 0) > 0 for name in one.documents[:5]) for one in found) / len(found)


def forbidden(found: list[RankedSetQuery], site_of: dict[str, str], asker: dict[str, str]) -> int:
    """Documents of another site than the asker's."""
    return sum(site_of[name] != asker[one.query_id] for one in found for name in one.documents)


def rows(path: Path, name: str) -> dict[str, str]:
    """One field of each row by its id."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {row["_id"]: str(row.get(name, "")) for row in map(json.loads, lines)}


def main() -> None:
    """Rank twice, compare, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=None)
    folder, limit = corpora() / "sets" / "policyqa", parser.parse_args().limit
    site_of, asker = rows(folder / "corpus.jsonl", "group"), rows(folder / "queries.jsonl", "group")
    ours, theirs = ranked(embedded, folder, limit), ranked(opensearch, folder, limit)
    pairs = [(set(one.documents[:10]), set(other.documents[:10])) for one, other in zip(ours, theirs, strict=True)]
    alike = sum(len(one & other) / max(len(one | other), 1) for one, other in pairs) / len(pairs)
    result = {
        "bench": "policyqa_engines",
        "questions": len(ours),
        "documents": len(site_of),
        "top_10_overlap": round(alike, 4),
        "same_first": round(sum(one.documents[:1] == other.documents[:1] for one, other in zip(ours, theirs, strict=True)) / len(ours), 4),
        "hit_at_5_embedded": round(hit_at_5(ours), 4),
        "hit_at_5_opensearch": round(hit_at_5(theirs), 4),
        "forbidden": forbidden(ours, site_of, asker) + forbidden(theirs, site_of, asker),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

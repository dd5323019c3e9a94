"""Real passages with real embeddings for benches: windows of the shared corpora through the bundled encoder, kept in the user's cache."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.llm.embedder import LocalEmbedder

ROOT = Path(__file__).resolve().parents[2]
_WINDOW, _STEP = 32, 10
_BATCH = 256
_USUAL = 100_000


def corpora() -> Path:
    """Where the shared corpora lie."""
    return Path(os.environ.get("PORTCULLIS_SHARED", ROOT.parent / "shared"))


async def embedded_passages(count: int) -> tuple[list[str], NDArray[np.float32]]:
    """`count` passages of 32 words and their unit vectors, shape (count, dim). Embedding 100,000 takes minutes, once."""
    texts = _passages(max(count, _USUAL))
    embedder = LocalEmbedder(ROOT / "models" / "embedder")
    try:
        whole = _cached(embedder, texts)
        # A smaller bench takes its share of the usual set where that has been embedded, and embeds only its own where not.
        chosen = np.linspace(0, len(texts) - 1, count).astype(int)
        if whole.exists():
            vectors: NDArray[np.float32] = np.load(whole)[chosen]
            return [texts[one] for one in chosen], vectors
        texts = [texts[one] for one in chosen]
        cached = _cached(embedder, texts)
        if not cached.exists():
            parts = [await embedder.embed(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
            cached.parent.mkdir(parents=True, exist_ok=True)
            fresh = cached.with_suffix(".next.npy")
            np.save(fresh, np.concatenate(parts).astype(np.float32))
            fresh.replace(cached)
        return texts, np.load(cached)
    finally:
        embedder.close()


def _cached(embedder: LocalEmbedder, texts: list[str]) -> Path:
    name = hashlib.sha256("\n".join([embedder.digest, *texts]).encode()).hexdigest()[:16]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portcullis-bench" / f"{name}.npy"


def _passages(count: int) -> list[str]:
    words: list[str] = []
    for path in sorted(corpora().rglob("*")):
        if path.suffix in (".md", ".jsonl", ".tsv", ".txt") and path.is_file() and path.stat().st_size > 0:
            words += re.findall(r"[^\W_][\w'-]*", path.read_text(encoding="utf-8", errors="replace"))
    starts = range(0, max(0, len(words) - _WINDOW), _STEP)
    if len(starts) < count:
        message = f"the shared corpora hold {len(starts)} passages, {count} were asked for"
        raise SystemExit(message)
    # Spread over everything there is.
    chosen = np.linspace(0, len(starts) - 1, count).astype(int)
    return [" ".join(words[starts[one] : starts[one] + _WINDOW]) for one in chosen]

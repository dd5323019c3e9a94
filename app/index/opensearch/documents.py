"""A chunk as the gateway holds it, as a document for the index, and back from the doc values a search returns. Pure."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pybase64

from app.domain.search import AccessFacts, ChunkVectors, IndexedChunk
from app.errors import UpstreamUnavailableError
from app.index.facts import encode_facts
from app.index.lexical import term_weight
from app.index.opensearch.filters import microseconds, pair_key
from app.index.packing import pack_chunk, pack_vectors
from app.index.words import clean, language_code, stems

USUAL_LENGTH = 120
"""Words of a usual chunk: the average length under which stored weights are exact; they only preselect."""
STATE_FIELDS = ("document_id", "chunk_id", "version", "surface", "packed", "context", "standalone")
"""Doc values that `StoredChunk.of_fields` reads."""

Fields = Mapping[str, Any]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """What is kept of a chunk whatever may be searched of it. Vectors are `None` while pending.

    `words` and `counts` are parallel; `guarded` holds (type, word, count).
    """

    document_id: str
    version: int
    chunk_id: str
    words: tuple[str, ...]
    counts: tuple[int, ...]
    length: int
    guarded: tuple[tuple[str, str, int], ...]
    packed: bytes | None = None
    context: bytes = b""
    standalone: bytes = b""

    @classmethod
    def of(cls, document_id: str, version: int, chunk: IndexedChunk) -> "StoredChunk":
        """A chunk as it is first stored, without vectors."""
        chunk_id, words, counts, length, guarded = pack_chunk(chunk)
        entries = orjson.loads(guarded) if guarded else []
        hidden = tuple((kind, word, count) for kind, word, count in entries)
        return cls(clean(document_id), version, chunk_id, tuple(words.split("\n")) if words else (), tuple(counts), length, hidden)

    @classmethod
    def of_fields(cls, fields: Fields) -> "StoredChunk":
        """A chunk out of the doc values of `STATE_FIELDS`. Raises UpstreamUnavailableError for a malformed reply."""
        try:
            words, counts, length, guarded = orjson.loads(unpacked(packed_text(fields, "surface")))
            return cls(
                document_id=only(fields, "document_id"),
                version=only(fields, "version"),
                chunk_id=only(fields, "chunk_id"),
                words=tuple(words),
                counts=tuple(counts),
                length=length,
                guarded=tuple((kind, word, count) for kind, word, count in guarded),
                packed=unpacked(packed_text(fields, "packed")) or None,
                context=unpacked(packed_text(fields, "context")),
                standalone=unpacked(packed_text(fields, "standalone")),
            )
        except (ValueError, TypeError) as error:
            raise malformed() from error

    def with_vectors(self, vectors: ChunkVectors) -> "StoredChunk":
        """The same chunk with embeddings. Raises InvalidInputError for odd shapes."""
        packed, context, standalone = pack_vectors(vectors)
        plain = (self.document_id, self.version, self.chunk_id, self.words, self.counts, self.length, self.guarded)
        return StoredChunk(*plain, packed, context, standalone)

    def waiting(self, tenant: str) -> Document:
        """As it lies in the index before its version is live: nothing of it can be searched."""
        surface = orjson.dumps([self.words, self.counts, self.length, self.guarded])
        kept = {"surface": surface, "packed": self.packed or b"", "context": self.context, "standalone": self.standalone}
        return {
            "tenant": clean(tenant),
            "document_id": self.document_id,
            "version": self.version,
            "chunk_id": self.chunk_id,
            "live": False,
            **{name: pybase64.b64encode_as_string(value) for name, value in kept.items() if value},
        }

    def live(self, facts: AccessFacts) -> Document:
        """As it lies in the index to be searched under facts."""
        language = language_code(facts.language)
        by_stem: Counter[str] = Counter()
        for stem, count in zip(stems(self.words, language), self.counts, strict=True):
            by_stem[stem] += count
        hidden = list(zip(self.guarded, stems([word for _, word, _ in self.guarded], language), strict=True))
        bag = orjson.dumps([by_stem, [[kind, stem, count] for (kind, _, count), stem in hidden]])
        found: Document = {
            **self.waiting(facts.tenant),
            **facts_fields(facts),
            "live": True,
            "length": self.length,
            "words": self.words,
            "hidden_words": sorted({hidden_key(kind, word) for kind, word, _ in self.guarded}),
            "stems": [stem_key(language, stem) for stem in by_stem],
            "hidden_stems": sorted({hidden_key(kind, stem_key(language, stem)) for (kind, _, _), stem in hidden}),
            "weights": {weight_key(language, stem): term_weight(count, self.length, USUAL_LENGTH) for stem, count in by_stem.items()},
            "bag": pybase64.b64encode_as_string(bag),
            "has_vector": self.packed is not None,
        }
        if self.packed is not None:
            found["vector"] = np.frombuffer(self.packed, np.float32).tolist()
        return found


def facts_fields(facts: AccessFacts) -> Document:
    """The fields a filter is matched against."""
    return {
        "collection": clean(facts.collection),
        "label": clean(facts.label),
        "pair": pair_key(facts.collection, facts.label),
        "sensitivity": int(facts.sensitivity),
        "mode": facts.acl.mode.value,
        "allow": sorted(clean(principal) for principal in facts.acl.allow),
        "deny": sorted(clean(principal) for principal in facts.acl.deny),
        "acl_version": int(facts.acl_version),
        "facts_digest": facts_digest(encode_facts(facts)),
        "language": language_code(facts.language) or clean(facts.language),
        "updated_at": microseconds(facts.updated_at),
    }


def facts_digest(encoded: str) -> str:
    """Short name of encoded facts: chunks that carry it need no rewriting."""
    return hashlib.sha256(encoded.encode()).hexdigest()[:32]


def words_digest(chunks: Sequence[StoredChunk]) -> str:
    """Name of the words of a version: a repeat with the same keeps its vectors."""
    return hashlib.sha256(orjson.dumps([[one.chunk_id, one.words, one.counts, one.length, one.guarded] for one in chunks])).hexdigest()


def stem_key(language: str, stem: str) -> str:
    """A stem as a term; the same letters in two languages are two terms."""
    return f"{language}:{stem}"


def weight_key(language: str, stem: str) -> str:
    """A stem as the name of a rank feature, in which no point may stand."""
    return stem_key(language, stem).replace(".", "\u2024")


def hidden_key(kind: str, term: str) -> str:
    """A guarded word or stem as a term, apart for every entity type."""
    return f"{kind.replace('%', '%25').replace('|', '%7C')}|{term}"


def only(fields: Fields, name: str) -> Any:  # noqa: ANN401 - a doc value is whatever the mapping says
    """The one doc value of a field. Raises UpstreamUnavailableError when it is not one."""
    values = fields.get(name)
    if not isinstance(values, list) or len(values) != 1:
        raise malformed()
    return values[0]


def packed_text(fields: Fields, name: str) -> str:
    """A binary doc value as the server gives it; empty when there is none."""
    if name not in fields:
        return ""
    text = only(fields, name)
    if not isinstance(text, str):
        raise malformed()
    return text


def unpacked(text: str) -> bytes:
    """Bytes of a binary doc value, which the server gives without padding. Raises UpstreamUnavailableError when it is none."""
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise malformed() from error


def malformed() -> UpstreamUnavailableError:
    """The error for a reply that is not as asked for: never read as fewer results."""
    return UpstreamUnavailableError("The search engine's reply was incomplete.")

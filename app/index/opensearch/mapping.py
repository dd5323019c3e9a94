"""Settings and mappings of the two kinds of index: a tenant's chunks, and the heads of all documents.

Chunks hold no running text. Words are stemmed in the gateway (`app/index/words.py`), so no analyzer runs in the server and both engines
agree on what a word is. `_source` of chunks is off: what a search needs of a hit comes from doc values, and writes give chunks whole.
"""

from typing import Any

from app.index.opensearch.rules import OpenSearchRules

FORMAT = 1
"""Raised with every change of a mapping or of what is written into a field; an index of another format is refused at start."""

Body = dict[str, Any]

_KEYWORD: Body = {"type": "keyword"}
_INDEXED_KEYWORD: Body = {"type": "keyword", "doc_values": False}
_BINARY: Body = {"type": "binary", "doc_values": True}
_MOST_TERMS = 65_536


def chunk_index(rules: OpenSearchRules) -> Body:
    """Body that makes an index of chunks."""
    return {
        "settings": {
            "index": {
                **_sizes(rules),
                "knn": True,
                "knn.derived_source.enabled": False,
                "max_terms_count": _MOST_TERMS,
                "max_regex_length": 10_000,
            }
        },
        "mappings": {
            "dynamic": "strict",
            "_meta": {"format": FORMAT, "dim": rules.dim},
            "_source": {"enabled": False},
            "properties": {
                # Which chunk it is. No normalizer and no ignore_above: a value left out of the index would be a deny that does not match.
                "tenant": _KEYWORD,
                "document_id": _KEYWORD,
                "version": {"type": "long"},
                "chunk_id": _KEYWORD,
                # The facts a filter is matched against: only chunks of the live version have them.
                "live": {"type": "boolean"},
                "collection": _KEYWORD,
                "label": _KEYWORD,
                "pair": _KEYWORD,
                "sensitivity": {"type": "integer"},
                "mode": _KEYWORD,
                "allow": _KEYWORD,
                "deny": _KEYWORD,
                "acl_version": {"type": "long"},
                "facts_digest": _KEYWORD,
                "language": _KEYWORD,
                "updated_at": {"type": "long"},
                # Words: surface forms for spelling, stems for counting, BM25's middle part for ranking, all of it for exact scores.
                "length": {"type": "long"},
                "words": _KEYWORD,
                "hidden_words": _KEYWORD,
                "stems": _INDEXED_KEYWORD,
                "hidden_stems": _INDEXED_KEYWORD,
                "weights": {"type": "rank_features"},
                "bag": _BINARY,
                "surface": _BINARY,
                # Vectors: to be found by, and packed for exact cosines.
                "has_vector": {"type": "boolean"},
                "vector": {"type": "knn_vector", "dimension": rules.dim, "method": _method(rules)},
                "packed": _BINARY,
                "context": _BINARY,
                "standalone": _BINARY,
            },
        },
    }


def heads_index(rules: OpenSearchRules) -> Body:
    """Body that makes the index of heads."""
    return {
        "settings": {"index": {**_sizes(rules), "number_of_shards": 1}},
        "mappings": {
            "dynamic": "strict",
            "_meta": {"format": FORMAT},
            "properties": {
                "kind": _KEYWORD,
                "tenant": _KEYWORD,
                "document_id": _KEYWORD,
                # Read by key and written whole; never searched.
                "state": {"type": "object", "enabled": False},
            },
        },
    }


def _sizes(rules: OpenSearchRules) -> Body:
    return {
        "number_of_shards": rules.shards,
        "number_of_replicas": rules.replicas,
        "refresh_interval": rules.refresh_interval,
        # The words of a request must reach the slow log of no server.
        "search.slowlog.threshold.query.warn": "-1",
        "search.slowlog.threshold.fetch.warn": "-1",
    }


def _method(rules: OpenSearchRules) -> Body:
    """Inner product, as vectors are unit length and a product of single rows is what the gateway computes again.

    The engine is always named: left out, some servers take Faiss, whose native library may be missing, and the first write kills the shard.
    """
    return {
        "name": "hnsw",
        "engine": rules.knn_engine,
        "space_type": "innerproduct",
        "parameters": {"m": 16, "ef_construction": 128},
    }

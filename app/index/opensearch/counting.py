"""What a filter grants, in numbers: chunks, words, languages, and how many granted chunks hold each word of a question.

Only these numbers reach a score. They are counted under the filter by the server; its own term statistics, which know all documents, are
never used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.index.opensearch.connection import Reply
from app.index.opensearch.documents import hidden_key, malformed, stem_key
from app.index.opensearch.filters import NOBODY, Clause, any_of, one_of
from app.index.words import LANGUAGES, is_stop_word, stems

Body = dict[str, Any]
Shown = Mapping[str, tuple[str, ...]]
"""Entity type to the (collection, label) pairs, as terms, in which the viewer sees it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Counts over the granted chunks. `languages` are two-letter codes, empty for one no stemmer knows."""

    n_chunks: int
    n_words: int
    n_pending: int
    languages: tuple[str, ...]


def grant_request(granted: Clause) -> Body:
    """Search that counts what a filter grants. It names no question, so the server may keep its reply until the index changes."""
    return {
        "size": 0,
        "track_total_hits": True,
        "query": granted,
        "aggs": {
            "words": {"sum": {"field": "length"}},
            "pending": {"filter": {"term": {"has_vector": False}}},
            # Those no stemmer knows are what is left: there may be any number of them.
            "languages": {"terms": {"field": "language", "include": list(LANGUAGES), "size": len(LANGUAGES)}},
        },
    }


def grant_of(reply: Reply) -> Grant:
    """Read the counts. Raises UpstreamUnavailableError for a malformed reply."""
    try:
        total, counts = reply["hits"]["total"], reply["aggregations"]
        if total["relation"] != "eq" or counts["languages"]["sum_other_doc_count"]:
            raise malformed()
        known = {bucket["key"]: int(bucket["doc_count"]) for bucket in counts["languages"]["buckets"]}
        languages = {*known, *([""] if sum(known.values()) < int(total["value"]) else [])}
        return Grant(int(total["value"]), int(counts["words"]["value"]), int(counts["pending"]["doc_count"]), tuple(sorted(languages)))
    except (KeyError, TypeError, ValueError) as error:
        raise malformed() from error


def words_request(granted: Clause, words: Sequence[str], languages: Sequence[str], shown: Shown) -> Body:
    """Search that counts, for each word, the granted chunks that hold it or another of its stem where this viewer sees it."""
    keys = [stem_key(*key) for word in words for key in stems_of(word, languages)]
    return counts_request(granted, [holds(word, languages, shown) for word in words], with_any("stems", keys, shown))


def with_any(name: str, terms: Sequence[str], shown: Shown) -> Clause:
    """Clause that matches chunks with any of the terms, open or guarded and seen; `name` is the field of the open ones."""
    return one_of([*any_of(name, terms), *seen(f"hidden_{name}", terms, shown)]) if terms else NOBODY


def counts_request(granted: Clause, clauses: Sequence[Clause], within: Clause) -> Body:
    """Search that counts the granted chunks each clause matches. `within` matches what any of them does.

    It is written apart, in few clauses: one made of all of them could be more than the server allows in a query.
    """
    return {
        "size": 0,
        "track_total_hits": False,
        "query": {"bool": {"filter": [granted, within]}},
        "aggs": {"each": {"filters": {"filters": list(clauses) or [NOBODY]}}},
    }


def counts_of(reply: Reply, n: int) -> list[int]:
    """Read `n` counts, in the order asked for. Raises UpstreamUnavailableError for a malformed reply."""
    try:
        found = [int(bucket["doc_count"]) for bucket in reply["aggregations"]["each"]["buckets"]]
    except (KeyError, TypeError, ValueError) as error:
        raise malformed() from error
    if len(found) < n:
        raise malformed()
    return found[:n]


def holds(word: str, languages: Sequence[str], shown: Shown) -> Clause:
    """Clause that matches chunks that hold a word or another of its stem, each by the stemmer of its own language."""
    keys = [stem_key(language, stem) for language, stem in stems_of(word, languages)]
    return with_any("stems", keys, shown)


def stems_of(word: str, languages: Sequence[str]) -> list[tuple[str, str]]:
    """The stem of a word by language, without the languages that never search for it."""
    return [(language, stems([word], language)[0]) for language in languages if not is_stop_word(word, language)]


def seen(name: str, terms: Sequence[str], shown: Shown) -> list[Clause]:
    """Clauses that match chunks with a guarded term whose entity type this viewer sees where the chunk lies."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for kind, pairs in shown.items():
        groups.setdefault(pairs, []).append(kind)
    return [
        {
            "bool": {
                "filter": [
                    one_of(any_of("pair", pairs)),
                    one_of(any_of(name, (hidden_key(kind, term) for kind in kinds for term in terms))),
                ]
            }
        }
        for pairs, kinds in groups.items()
    ]

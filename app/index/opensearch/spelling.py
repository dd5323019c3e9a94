"""Spelling correction towards granted, visible words without a suggester: those know every document's terms.

Near words come from a terms aggregation under the filter; how many chunks hold each is counted under the filter as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from app.domain.access import ReadFilter
from app.domain.search import SearchLimits, Visibility
from app.index.opensearch.connection import Cluster, Reply
from app.index.opensearch.counting import Body, Shown, counts_of, counts_request, grant_of, grant_request, with_any, words_request
from app.index.opensearch.documents import hidden_key, malformed
from app.index.opensearch.filters import Clause, any_of, granted, one_of, shown_types
from app.index.spelling import MOST_WORDS, best_of, corrected, edit_distance, is_alike, is_in_dictionary, most_edits
from app.index.words import clean

_MOST_CHECKED = 256
"""Words of a text that are looked up; a pasted page must not fill a request."""
_MOST_NEAR = 5_000
_WINDOWS = 4
"""More make patterns that the server calls too complex."""


@dataclass(frozen=True, slots=True)
class Speller:
    """Corrections inside what one filter grants."""

    cluster: Cluster
    indexes: str
    granted: Clause
    shown: Shown

    @classmethod
    def of(cls, cluster: Cluster, indexes: str, read_filter: ReadFilter, visible: Visibility) -> "Speller":
        """Corrections towards what a filter grants and a viewer sees."""
        return cls(cluster, indexes, granted(read_filter, SearchLimits()), shown_types(visible))

    async def respell(self, text: str, dictionary: frozenset[str], languages: Sequence[str]) -> str | None:
        """Correct a text; `None` when there is no index. `languages` is a guess at those granted: a wrong one costs a request."""
        doubtful: dict[str, None] = {}

        def is_known(word: str) -> bool:
            known = is_in_dictionary(word, dictionary) or (len(doubtful) >= _MOST_CHECKED and word not in doubtful)
            if not known:
                doubtful[word] = None
            # Said of every word on this first way through: it only collects.
            return True

        corrected(text, is_known, lambda _: None)
        if not doubtful:
            return text
        unknown = await self._unknown(list(doubtful), languages)
        if unknown is None:
            return None
        # No more than are corrected anyway: each is a search of its own.
        nearest = await self._nearest(unknown[:MOST_WORDS], dictionary)
        return None if nearest is None else corrected(text, lambda word: word not in nearest, nearest.get)

    async def _unknown(self, words: Sequence[str], guess: Sequence[str]) -> list[str] | None:
        """Those of the words that no granted, visible text holds, in whatever form."""
        replies = await self._ask([grant_request(self.granted), words_request(self.granted, words, guess, self.shown)])
        if replies is None:
            return None
        languages = grant_of(replies[0]).languages
        if not set(languages) <= set(guess):
            replies = await self._ask([words_request(self.granted, words, languages, self.shown)])
            if replies is None:
                return None
        counts = counts_of(replies[-1], len(words))
        return [word for word, found in zip(words, counts, strict=True) if not found]

    async def _nearest(self, words: Sequence[str], dictionary: frozenset[str]) -> dict[str, str | None] | None:
        if not words:
            return {}
        replies = await self._ask([self._near_request(word) for word in words])
        if replies is None:
            return None
        near = {word: _near(word, reply) for word, reply in zip(words, replies, strict=True)}
        candidates = sorted({other for others in near.values() for other in others})
        counts: dict[str, int] = {}
        for start in range(0, len(candidates), _MOST_CHECKED):
            batch = candidates[start : start + _MOST_CHECKED]
            clauses = [with_any("words", [other], self.shown) for other in batch]
            counted = await self._ask([counts_request(self.granted, clauses, with_any("words", batch, self.shown))])
            if counted is None:
                return None
            counts |= zip(batch, counts_of(counted[0], len(batch)), strict=True)
        return {word: best_of(word, ((other, counts[other]) for other in others), dictionary) for word, others in near.items()}

    def _near_request(self, word: str) -> Body:
        """Search for the granted words near one; guarded ones by entity type, each only where it is seen."""
        pattern = near_pattern(clean(word))
        groups: dict[tuple[str, ...], list[str]] = {}
        for kind, pairs in self.shown.items():
            groups.setdefault(pairs, []).append(kind)
        aggregations: Body = {"open": _terms("words", pattern)}
        for number, (pairs, kinds) in enumerate(groups.items()):
            prefix = "|".join(_escaped(hidden_key(kind, "")) for kind in kinds)
            within = {"filter": one_of(any_of("pair", pairs)), "aggs": {"near": _terms("hidden_words", f"({prefix})({pattern})")}}
            aggregations[f"hidden{number}"] = within
        return {"size": 0, "track_total_hits": False, "query": self.granted, "aggs": aggregations}

    async def _ask(self, bodies: Sequence[Body]) -> list[Reply] | None:
        return await self.cluster.search_many(self.indexes, bodies)


def near_pattern(word: str) -> str:
    """Pattern that matches every word within a word's edits, and others: some stretches of it may be anything.

    An edit at a place touches it and, as a swap, the next one: it lies within a window that is one letter longer than the windows' step.
    """
    step = max(1, -(-len(word) // _WINDOWS))
    starts = range(0, len(word) + 1, step)
    if most_edits(word) == 1:
        return "|".join(_opened(word, ((start, step + 1),), 1) for start in starts)
    return "|".join(_opened(word, tuple((start, step + 1) for start in pair), 2) for pair in combinations_with_replacement(starts, 2))


def _opened(word: str, windows: tuple[tuple[int, int], ...], edits: int) -> str:
    """The word with windows, in order, in which anything may stand, as long as the window or shorter or longer by the edits."""
    parts: list[str] = []
    place = 0
    for start, length in windows:
        begin, end = max(start, place), min(start + length, len(word))
        if begin < place or (begin == place and parts and end <= place):
            continue
        parts.append(f"{word[place:begin]}.{{{max(0, end - begin - edits)},{max(0, end - begin) + edits}}}")
        place = max(end, place)
    return "".join(parts) + word[place:]


def _terms(name: str, pattern: str) -> Body:
    return {"terms": {"field": name, "include": pattern, "size": _MOST_NEAR}}


def _escaped(text: str) -> str:
    return "".join(letter if letter.isalnum() else f"\\{letter}" for letter in text)


def _near(word: str, reply: Reply) -> list[str]:
    try:
        aggregations = reply["aggregations"]
        found = [bucket["key"] for bucket in aggregations["open"]["buckets"]]
        for name, one in aggregations.items():
            if name != "open":
                found += [bucket["key"].split("|", 1)[1] for bucket in one["near"]["buckets"]]
    except (KeyError, TypeError, IndexError) as error:
        raise malformed() from error
    most = most_edits(word)
    return [other for other in dict.fromkeys(found) if is_alike(word, other) and edit_distance(word, other, most) <= most]
